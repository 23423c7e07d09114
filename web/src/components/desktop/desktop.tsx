import { type ReactNode, useEffect, useId, useRef, useState } from "react";
import { useStore } from "../../lib/store";
import { Loading } from "../asked";
import { Button } from "../button";
import { Icon } from "../icon";
import { Desk } from "./desk";
import { Tools } from "./tools";

type Props = {
  login: string;
  /** What it is called. */
  label: string;
  /** What to do in it, beside its tools; `onType` types a text where its keys go. */
  about: (onType: (text: string) => void) => ReactNode;
  /** What lies over it. */
  children?: ReactNode;
};

/** The desktop of a login, in all the room that there is, with what belongs to it. */
export function Desktop({ login, label, about, children }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const tools = useRef<HTMLDivElement>(null);
  const hint = useId();
  const [desk, setDesk] = useState<Desk | null>(null);
  useEffect(() => {
    if (!place.current) return;
    const onLeave = () => tools.current?.querySelector<HTMLElement>("select, button")?.focus();
    const desk = new Desk(place.current, login, { label, hint, onLeave });
    setDesk(desk);
    return () => {
      desk.close();
      setDesk(null);
    };
  }, [login, label, hint]);
  const onType = (text: string) => {
    desk?.type(text);
    desk?.focus();
  };
  return (
    <section
      aria-label={label}
      className="relative grid min-h-0 grow grid-rows-[auto_minmax(0,1fr)_auto] md:grid-cols-[minmax(0,1fr)_auto] md:grid-rows-[auto_minmax(0,1fr)]"
    >
      <div className="min-w-0 border-b bg-sheet px-3 py-1.5 md:py-1">{about(onType)}</div>
      <div
        ref={tools}
        className="relative row-start-3 border-t bg-sheet px-3 py-1 md:col-start-2 md:row-start-1 md:border-t-0 md:border-b"
      >
        {desk && <Tools desk={desk} />}
      </div>
      <p id={hint} className="unseen">
        The desktop takes all keys. Press Ctrl, Alt and Shift together to leave it.
      </p>
      <div className="relative row-start-2 md:col-span-2">
        <div
          ref={place}
          className="absolute inset-0 overflow-hidden [&_canvas]:outline-none has-[canvas:focus-visible]:outline-2 has-[canvas:focus-visible]:-outline-offset-2 has-[canvas:focus-visible]:outline-accent"
        />
        {desk && <Over desk={desk} />}
        {children}
      </div>
    </section>
  );
}

/** What is said in the desktop's place while it is not there. */
function Over({ desk }: { desk: Desk }) {
  const link = useStore(desk.link);
  const first = useRef(true);
  useEffect(() => {
    // Whoever came here came to type in it: the keys are its own, unless they are elsewhere already.
    if (link !== "there" || !first.current) return;
    first.current = false;
    if (document.activeElement === null || document.activeElement.matches("body, h1, main")) desk.focus();
  }, [link, desk]);
  if (link === "there") return null;
  return (
    <div className="absolute inset-0 flex items-center justify-center bg-paper p-4">
      {link === "connecting" && <Loading>Connecting to the desktop</Loading>}
      {link === "over" && <Loading>The desktop closes</Loading>}
      {link === "lost" && (
        <p role="status" className="flex max-w-md items-start gap-2">
          <Icon name="lost" className="mt-0.5 text-wary" />
          <span>
            <strong className="block font-bold">The connection to the desktop is lost.</strong>
            It is still there, as you left it. It is tried again until it answers.
          </span>
        </p>
      )}
      {link === "taken" && (
        <div role="status" className="max-w-md space-y-3">
          <p>
            <strong className="block font-bold">Another window shows this desktop.</strong>
            One at a time does: it is as you left it, there.
          </p>
          <Button kind="main" onClick={() => desk.again()}>
            Show it here
          </Button>
        </div>
      )}
    </div>
  );
}
