/** What the person has chosen; `system` follows the machine. */
export type Theme = "system" | "light" | "dark";

const KEY = "polydev.theme";

/** What was chosen before, in this browser. */
export function theme(): Theme {
  const kept = read();
  return kept === "light" || kept === "dark" ? kept : "system";
}

function read(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** Shows a theme, and keeps it where the browser lets us. */
export function choose(next: Theme): void {
  try {
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // It holds until the page is left.
  }
  show(next);
}

/** Shows a theme: the rest is in tokens.css. */
export function show(next: Theme): void {
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
}
