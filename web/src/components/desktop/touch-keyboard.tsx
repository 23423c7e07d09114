import { type KeyboardEvent, useRef, useState } from "react";
import { isKey, KEYS, keyOf, typed } from "../../lib/keys";
import { IconButton } from "../button";
import type { Desk } from "./desk";

/** What stands in the field so that there is something to take away: a keyboard on the screen tells nothing else. */
const REST = "_".repeat(64);

/** The keyboard of a device that has none but on its screen. It opens for a field alone, which nobody sees. */
export function TouchKeyboard({ desk }: { desk: Desk }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const before = useRef(REST);
  const [open, setOpen] = useState(false);
  const rest = () => {
    if (!field.current) return;
    field.current.value = REST;
    field.current.setSelectionRange(REST.length, REST.length);
    before.current = REST;
  };
  const onInput = (composing: boolean) => {
    const now = field.current?.value ?? REST;
    const { back, text } = typed(before.current, now);
    for (let at = 0; at < back; at += 1) desk.press(KEYS.Backspace);
    desk.type(text);
    before.current = now;
    // Between two words alone: a keyboard that corrects looks at what is there.
    if (!composing && (now.length < REST.length / 2 || /\s$/.test(now))) rest();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // A real keyboard may be there too.
    if (event.key === "Backspace" || event.key === "Enter" || event.nativeEvent.isComposing) return;
    const letter = (event.ctrlKey || event.altKey) && [...event.key].length === 1;
    if (!letter && !isKey(event.key)) return;
    event.preventDefault();
    if (isKey(event.key) && ["Control", "Alt", "Shift", "Super"].includes(event.key)) return;
    const held = [event.ctrlKey && KEYS.Control, event.altKey && KEYS.Alt].filter((key) => key !== false);
    desk.press(...held, isKey(event.key) ? KEYS[event.key] : keyOf(event.key));
  };
  return (
    <span className="relative pointer-fine:hidden">
      <IconButton
        name="keyboard"
        label="Keyboard on the screen"
        aria-pressed={open}
        // What has the focus keeps it until this is done: the keyboard would go and come.
        onPointerDown={(event) => event.preventDefault()}
        onClick={() => (open ? field.current?.blur() : field.current?.focus())}
      />
      <textarea
        ref={field}
        aria-label="What is typed here goes to the desktop"
        tabIndex={-1}
        autoCapitalize="off"
        autoComplete="off"
        autoCorrect="off"
        spellCheck={false}
        inputMode="text"
        className="pointer-events-none absolute inset-0 size-px resize-none text-md opacity-0"
        onFocus={() => {
          setOpen(true);
          rest();
        }}
        onBlur={() => setOpen(false)}
        onInput={(event) => onInput((event.nativeEvent as InputEvent).isComposing)}
        onKeyDown={onKeyDown}
      />
    </span>
  );
}
