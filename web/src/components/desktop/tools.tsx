import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { useStore } from "../../lib/store";
import { IconButton } from "../button";
import { ClipboardPanel } from "./clipboard-panel";
import type { Desk, View } from "./desk";
import { KeysPanel } from "./keys-panel";
import { TouchKeyboard } from "./touch-keyboard";
import { tripWords } from "./trip";

const VIEWS: [View, string][] = [
  ["resize", "Resize it"],
  ["fit", "Fit it"],
  ["exact", "1:1"],
];

const COLOURS = { good: "text-ink-faint", wary: "text-wary", bad: "text-bad" };

/** What can be done with the desktop beside working in it. */
export function Tools({ desk }: { desk: Desk }) {
  const [view, setView] = useState<View>(desk.view);
  const [panel, setPanel] = useState<"clipboard" | "keys" | null>(null);
  const opener = useRef<HTMLElement | null>(null);
  const heard = useStore(desk.heard);
  const toggle = (which: "clipboard" | "keys") => (event: { currentTarget: HTMLElement }) => {
    opener.current = event.currentTarget;
    setPanel(panel === which ? null : which);
  };
  const close = () => {
    setPanel(null);
    opener.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || panel === null) return;
    event.preventDefault();
    close();
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Escape closes what a button in it has opened
    <div className="flex flex-wrap items-center gap-1" onKeyDown={onKeyDown}>
      <span className="mr-3 text-xs whitespace-nowrap text-ink-faint max-lg:hidden pointer-coarse:hidden">
        Ctrl-Alt-Shift leaves it
      </span>
      <Quality desk={desk} />
      <select
        aria-label="How the desktop is shown"
        value={view}
        onChange={(event) => {
          desk.view = event.target.value as View;
          setView(desk.view);
        }}
        className="h-8 rounded-md border border-edge bg-sheet px-2 text-sm max-sm:w-28 pointer-coarse:h-11"
      >
        {VIEWS.map(([view, words]) => (
          <option key={view} value={view}>
            {words}
          </option>
        ))}
      </select>
      <span className="relative">
        <IconButton
          name="clipboard"
          label="Clipboard"
          aria-expanded={panel === "clipboard"}
          onClick={toggle("clipboard")}
        />
        {heard && !heard.kept && panel !== "clipboard" && (
          <span className="pointer-events-none absolute top-1 right-1 size-2 rounded-sm bg-accent" />
        )}
      </span>
      <IconButton name="keys" label="Keys" aria-expanded={panel === "keys"} onClick={toggle("keys")} />
      <TouchKeyboard desk={desk} />
      <FullScreen />
      {panel && (
        <div className="absolute right-0 bottom-full z-10 w-full max-w-sm border bg-sheet p-4 md:top-full md:bottom-auto">
          {panel === "clipboard" ? <ClipboardPanel desk={desk} onDone={close} /> : <KeysPanel desk={desk} />}
        </div>
      )}
    </div>
  );
}

/** How good the connection is. */
function Quality({ desk }: { desk: Desk }) {
  const trip = useStore(desk.trip);
  const link = useStore(desk.link);
  if (link !== "there" || trip === null) return null;
  const { word, is } = tripWords(trip);
  return (
    <span
      className={`figures mr-2 text-xs whitespace-nowrap ${COLOURS[is]}`}
      title="How long the server takes to answer"
    >
      <span className="unseen">Connection: </span>
      {word}
      <span className="max-sm:unseen">, {trip} ms</span>
    </span>
  );
}

/** All of the screen, where the browser lets a page have it. */
function FullScreen() {
  const [full, setFull] = useState(false);
  useEffect(() => {
    const changed = () => setFull(document.fullscreenElement !== null);
    document.addEventListener("fullscreenchange", changed);
    return () => document.removeEventListener("fullscreenchange", changed);
  }, []);
  if (!document.fullscreenEnabled) return null;
  return (
    <IconButton
      name="full"
      label={full ? "Leave full screen" : "Full screen"}
      aria-pressed={full}
      onClick={() => {
        // Refused, it stays as it is.
        const change = full ? document.exitFullscreen() : document.documentElement.requestFullscreen();
        change.catch(() => {});
      }}
    />
  );
}
