import { useEffect, useState } from "react";
import { KEYS, type KeyName } from "../../lib/keys";
import { pressed } from "../button";
import type { Desk } from "./desk";

const HELD: [KeyName, string][] = [
  ["Control", "Ctrl"],
  ["Alt", "Alt"],
  ["Shift", "Shift"],
  ["Super", "Super"],
];

const CHORDS: [string, KeyName[]][] = [
  ["Esc", ["Escape"]],
  ["Tab", ["Tab"]],
  ["Delete", ["Delete"]],
  ["Left", ["ArrowLeft"]],
  ["Up", ["ArrowUp"]],
  ["Down", ["ArrowDown"]],
  ["Right", ["ArrowRight"]],
  ["Alt-Tab", ["Alt", "Tab"]],
  ["Ctrl-Alt-Del", ["Control", "Alt", "Delete"]],
];

/** Keys that a browser or a system keeps for itself, or that a finger does not have. */
export function KeysPanel({ desk }: { desk: Desk }) {
  const [held, setHeld] = useState<KeyName[]>([]);
  // None is left down when the panel goes.
  useEffect(
    () => () =>
      HELD.forEach(([name]) => {
        desk.hold(KEYS[name], false);
      }),
    [desk],
  );
  return (
    <div className="space-y-4">
      <p className="text-ink-soft">
        Your own keyboard's layout is used as it is. Ctrl, Alt and Shift together lead out of the desktop.
      </p>
      <fieldset>
        <legend className="mb-1 font-medium">Held down for what comes next</legend>
        <div className="flex flex-wrap gap-2">
          {HELD.map(([name, words]) => {
            const down = held.includes(name);
            return (
              <button
                key={name}
                type="button"
                aria-pressed={down}
                className={pressed("plain", down ? "bg-accent-wash text-accent-deep border-accent" : "")}
                onClick={() => {
                  desk.hold(KEYS[name], !down);
                  setHeld(down ? held.filter((other) => other !== name) : [...held, name]);
                }}
              >
                {words}
              </button>
            );
          })}
        </div>
      </fieldset>
      <fieldset>
        <legend className="mb-1 font-medium">Pressed once</legend>
        <div className="flex flex-wrap gap-2">
          {CHORDS.map(([words, names]) => (
            <button
              key={words}
              type="button"
              className={pressed("plain")}
              onClick={() => desk.press(...names.map((name) => KEYS[name]))}
            >
              {words}
            </button>
          ))}
          <button
            type="button"
            className={pressed("plain")}
            onClick={() => desk.press(KEYS.Control, { keysym: 0x63, code: "KeyC" })}
          >
            Ctrl-C
          </button>
        </div>
      </fieldset>
    </div>
  );
}
