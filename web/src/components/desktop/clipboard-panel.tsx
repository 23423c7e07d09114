import { type ComponentProps, type FormEvent, useId, useState } from "react";
import { useStore } from "../../lib/store";
import { Button } from "../button";
import { CopyButton } from "../copy";
import type { Desk } from "./desk";

/** The clipboards of both sides, for what they do not exchange by themselves. */
export function ClipboardPanel({ desk, onDone }: { desk: Desk; onDone: () => void }) {
  const heard = useStore(desk.heard);
  const [text, setText] = useState("");
  const paste = (event: FormEvent) => {
    event.preventDefault();
    if (text === "") return;
    desk.paste(text);
    onDone();
    desk.focus();
  };
  return (
    <div className="space-y-4">
      <p className="text-ink-soft">
        Ctrl-V, and Ctrl-Shift-V in the terminal, paste what you copied anywhere.{" "}
        {window.isSecureContext
          ? "What you copy in the desktop is in your own clipboard at once, where your browser allows it."
          : "This page does not come by https, so your browser does not let it put anything in your clipboard: what you copy in the desktop is below."}
      </p>
      <form className="space-y-2" onSubmit={paste}>
        <Area
          label="Into the desktop"
          value={text}
          onChange={(event) => setText(event.target.value)}
          spellCheck={false}
          autoCapitalize="off"
        />
        <Button type="submit" disabled={text === ""}>
          Paste it there
        </Button>
      </form>
      <div className="space-y-2">
        <Area label="From the desktop" readOnly value={heard?.text ?? ""} placeholder="Nothing was copied there yet" />
        {heard && <CopyButton text={heard.text} />}
      </div>
    </div>
  );
}

function Area({ label, ...props }: { label: string } & ComponentProps<"textarea">) {
  const id = useId();
  return (
    <>
      <label htmlFor={id} className="block font-medium">
        {label}
      </label>
      <textarea
        id={id}
        rows={3}
        className="w-full resize-y rounded-md border border-edge bg-sheet p-2 text-sm pointer-coarse:text-md"
        {...props}
      />
    </>
  );
}
