import { type Message, SseParser } from "../lib/sse";
import { problemOf, unreachable } from "./problem";

/** The server says at least every 15 s that it lives: after this long without a word, the line is dead, ms. */
const SILENCE_MAX = 40_000;

/** What is told of a stream while it lasts. */
export type Told = {
  /** It was let in. */
  open?: () => void;
  /** A message came. */
  message: (message: Message) => void;
};

/**
 * Reads a stream of the server's to its end. Resolves with whether there is more to come after it: not where the server
 * says that there is none (204). Throws a `Problem` where the server refuses, cannot be reached, or falls silent.
 */
export async function readStream(path: string, told: Told, signal: AbortSignal): Promise<"ended" | "nothing more"> {
  const silence = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MAX);
  };
  heard();
  try {
    const response = await fetch(path, {
      headers: { accept: "text/event-stream" },
      signal: AbortSignal.any([signal, silence.signal]),
      cache: "no-store",
    });
    if (!response.ok) throw problemOf(response.status, await response.json().catch(() => undefined), response.headers);
    if (response.status === 204 || !response.body) return "nothing more";
    told.open?.();
    const parser = new SseParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return "ended";
      heard();
      for (const message of parser.push(value)) told.message(message);
    }
  } catch (thrown) {
    if (signal.aborted) throw new DOMException("given up", "AbortError");
    if (thrown instanceof TypeError || thrown instanceof DOMException) throw unreachable();
    throw thrown;
  } finally {
    clearTimeout(timer);
  }
}

/** How long to wait before the next attempt, ms: longer each time, and never all pages at the same moment. */
export const backoff = (attempt: number, chance = Math.random()): number =>
  Math.min(1000 * 2 ** Math.min(attempt, 10), 4000) * (0.75 + chance / 2);

/** Waits, unless it is given up. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
  });
}
