/** A key as the desktop is told of it: its keysym (X11), and where it is on a keyboard, where that is one place. */
export type Key = { keysym: number; code: string | null };

const key = (keysym: number, code: string): Key => ({ keysym, code });

/** Keys that print nothing. */
export const KEYS = {
  Backspace: key(0xff08, "Backspace"),
  Tab: key(0xff09, "Tab"),
  Enter: key(0xff0d, "Enter"),
  Escape: key(0xff1b, "Escape"),
  Delete: key(0xffff, "Delete"),
  Home: key(0xff50, "Home"),
  ArrowLeft: key(0xff51, "ArrowLeft"),
  ArrowUp: key(0xff52, "ArrowUp"),
  ArrowRight: key(0xff53, "ArrowRight"),
  ArrowDown: key(0xff54, "ArrowDown"),
  PageUp: key(0xff55, "PageUp"),
  PageDown: key(0xff56, "PageDown"),
  End: key(0xff57, "End"),
  Insert: key(0xff63, "Insert"),
  Shift: key(0xffe1, "ShiftLeft"),
  Control: key(0xffe3, "ControlLeft"),
  Alt: key(0xffe9, "AltLeft"),
  Super: key(0xffeb, "MetaLeft"),
} as const;

export type KeyName = keyof typeof KEYS;

/** Whether a key of this name prints nothing and is known here. */
export const isKey = (name: string): name is KeyName => Object.hasOwn(KEYS, name);

/** The key of a character, whatever layout it is on: Latin-1 has its own keysyms, all else is its code point. */
export function keyOf(character: string): Key {
  const point = character.codePointAt(0) ?? 0;
  if (point === 0x0a || point === 0x0d) return KEYS.Enter;
  if (point === 0x09) return KEYS.Tab;
  const latin = (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff);
  return { keysym: latin ? point : 0x0100_0000 | point, code: null };
}

/** What was done to a text from one moment to the next: so many characters taken from its end, then these added. */
export function typed(before: string, after: string): { back: number; text: string } {
  const [was, is] = [[...before], [...after]];
  let same = 0;
  while (same < was.length && same < is.length && was[same] === is[same]) same += 1;
  return { back: was.length - same, text: is.slice(same).join("") };
}
