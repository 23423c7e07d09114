import { pause } from "../../api/stream";
import type { Store } from "../../lib/store";

/** How long the server takes to answer, ms; null while it does not. */
export type Trip = number | null;

/** How often it is asked, ms; and after how long it counts as silent. */
const EVERY = 5000;
const SILENT = 5000;

/** Measures how long the server takes to answer, while the page is looked at. The screen goes the same way. */
export async function measure(trip: Store<Trip>, silent: () => void, signal: AbortSignal): Promise<void> {
  let last: number[] = [];
  for (; !signal.aborted; await pause(EVERY, signal)) {
    if (document.visibilityState !== "visible") continue;
    const from = performance.now();
    try {
      const given = AbortSignal.any([signal, AbortSignal.timeout(SILENT)]);
      await fetch("/healthz", { cache: "no-store", credentials: "omit", signal: given });
      last = [...last.slice(-2), performance.now() - from];
      // The middle of three: one that was slow by chance is none.
      trip.set(Math.round([...last].sort((a, b) => a - b)[Math.floor((last.length - 1) / 2)] ?? 0));
    } catch {
      if (signal.aborted) return;
      last = [];
      trip.set(null);
      silent();
    }
  }
}

/** What that means for who works in it. */
export function tripWords(trip: Trip): { word: string; is: "good" | "wary" | "bad" } {
  if (trip === null) return { word: "No answer", is: "bad" };
  if (trip < 100) return { word: "Quick", is: "good" };
  return trip < 250 ? { word: "Fair", is: "good" } : { word: "Slow", is: "wary" };
}
