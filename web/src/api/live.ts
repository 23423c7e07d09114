import type { QueryClient, QueryKey } from "@tanstack/react-query";
import { Store } from "../lib/store";
import { asProblem, type Problem } from "./problem";
import type { components } from "./schema";
import { backoff, pause, readStream } from "./stream";

/** Whether the server is there, as the stream of changes tells; or why it refuses to tell of changes. */
export type Reach = "connecting" | "live" | "lost" | Problem;

export const reach = new Store<Reach>("connecting");

/** How long what changes is collected before it is looked up, ms. */
const COLLECTED = 300;

/** How often it was lost and found again: who follows something else looks again when it changes. */
export const found = new Store(0);

/**
 * Follows `GET /events`, and has looked up again what changes. A hidden page follows nothing: a browser has few
 * connections for one server, and it looks at everything when it is shown again.
 */
export function followChanges(queries: QueryClient): () => void {
  let stop = new AbortController();
  const start = () => {
    stop.abort();
    stop = new AbortController();
    if (document.visibilityState === "visible") void follow(queries, stop.signal);
  };
  document.addEventListener("visibilitychange", start);
  start();
  return () => {
    document.removeEventListener("visibilitychange", start);
    stop.abort();
    reach.set("connecting");
  };
}

async function follow(queries: QueryClient, signal: AbortSignal): Promise<void> {
  const again = lookUpAgain(queries, signal);
  const tell = (now: Reach) => {
    if (reach.get() === "lost" && now !== "lost") found.set(found.get() + 1);
    reach.set(now);
  };
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      const open = () => {
        attempt = 0;
        tell("live");
        // Nothing of before is told.
        void everything(queries);
      };
      await readStream("/api/v1/events", { open, message: ({ data }) => changed(queries, again, data) }, signal);
      // It ends by itself after an hour, and with the server.
      if (!signal.aborted) await pause(250, signal);
    } catch (thrown) {
      if (signal.aborted) return;
      const problem = asProblem(thrown);
      if (problem.status === 401) {
        void queries.invalidateQueries({ queryKey: ["me"] });
        return;
      }
      tell(problem.status === 0 || problem.status >= 500 ? "lost" : problem);
      await pause(backoff(attempt), signal);
    }
  }
}

/** Looks everything up again but models, which are not this server's own: their provider is asked for them. */
const everything = (queries: QueryClient) =>
  queries.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== "models" });

/**
 * Looks up again what has changed, all that changes within a moment at once; what is being looked up already, as it was
 * before the change, comes to its end first.
 */
export function lookUpAgain(queries: QueryClient, signal: AbortSignal): (...keys: QueryKey[]) => void {
  const due = new Map<string, QueryKey>();
  let waiting = false;
  const soon = async () => {
    if (waiting) return;
    waiting = true;
    await pause(COLLECTED, signal);
    waiting = false;
    if (signal.aborted) return;
    for (const [name, queryKey] of due) {
      if (queries.isFetching({ queryKey }) > 0) continue;
      due.delete(name);
      void queries.invalidateQueries({ queryKey });
    }
    if (due.size > 0) void soon();
  };
  return (...keys) => {
    for (const key of keys) due.set(JSON.stringify(key), key);
    void soon();
  };
}

function changed(queries: QueryClient, again: (...keys: QueryKey[]) => void, data: string): void {
  const change = JSON.parse(data) as components["schemas"]["Change"];
  switch (change.type) {
    case "run":
      again(["runs"], ["run", change.id]);
      return;
    case "login":
      again(["logins"], ["login", change.id]);
      return;
    case "connection":
      again(["connections"], ["providers"], ["models", change.id]);
      return;
    case "resync":
      void everything(queries);
  }
}
