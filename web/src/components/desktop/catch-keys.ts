/** What is done with the keys that are not the desktop's alone. */
type Caught = {
  /** Ctrl, Alt and Shift were pressed together, and nothing else. */
  leave: () => void;
  /** Somebody pastes by this chord; the text is empty where there is none. */
  paste: (text: string, chord: { key: string; code: string; meta: boolean }) => void;
  signal: AbortSignal;
};

/** How long the browser may take to say what is pasted, ms. */
const PASTE_WAIT = 200;

/** Whether this key, with those that are held, pastes. */
function pastes({ code, key, ctrlKey, metaKey, shiftKey, altKey }: KeyboardEvent): boolean {
  if (altKey) return false;
  if (key === "Insert") return shiftKey && !ctrlKey && !metaKey;
  return code === "KeyV" && ctrlKey !== metaKey;
}

/**
 * Looks at keys before noVNC, which takes all of them. Two things are not left to it:
 *
 * - The way out, for who has no pointer: a picture of a desktop keeps Tab for itself.
 * - Pasting. The browser says what is in its clipboard to who is pasted into, without being asked for permission and
 *   without TLS, and it does so only when somebody pastes: so nothing of it reaches the desktop before. It is let do so
 *   in a field that cannot be seen, because it pastes plain text only where one can write.
 */
export function catchKeys(place: HTMLElement, { leave, paste, signal }: Caught): void {
  const down = new Set<string>();
  let leaving = false;
  const sides = (name: string) => down.has(`${name}Left`) || down.has(`${name}Right`);
  place.addEventListener(
    "keydown",
    (event) => {
      down.add(event.code);
      leaving = down.size === 3 && sides("Control") && sides("Alt") && sides("Shift");
      if (!pastes(event)) return;
      event.stopPropagation();
      if (event.repeat) return event.preventDefault();
      const chord = { key: event.key, code: event.code, meta: event.metaKey };
      catchPaste(place, (text) => paste(text, chord));
    },
    { capture: true, signal },
  );
  place.addEventListener(
    "keyup",
    (event) => {
      down.delete(event.code);
      if (!leaving) return;
      leaving = false;
      down.clear();
      event.stopPropagation();
      leave();
    },
    { capture: true, signal },
  );
  // What is let go elsewhere is not told here.
  const forget = () => {
    down.clear();
    leaving = false;
  };
  place.addEventListener("focusout", forget, { signal });
  window.addEventListener("blur", forget, { signal });
}

/** Has the browser paste, as it is about to, into a field of ours; tells what it was, once. */
function catchPaste(place: HTMLElement, told: (text: string) => void): void {
  const before = document.activeElement;
  const field = document.createElement("textarea");
  field.className = "unseen";
  field.tabIndex = -1;
  field.setAttribute("aria-hidden", "true");
  place.append(field);
  field.focus({ preventScroll: true });
  let done = false;
  const end = (text: string) => {
    if (done) return;
    done = true;
    clearTimeout(timer);
    if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    field.remove();
    told(text);
  };
  field.addEventListener("paste", (event) => {
    event.preventDefault();
    end(event.clipboardData?.getData("text/plain") ?? "");
  });
  const timer = setTimeout(() => end(""), PASTE_WAIT);
}
