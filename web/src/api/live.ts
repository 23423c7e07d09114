import type { QueryClient } from "@tanstack/react-query";
import { Store } from "../lib/store";
import { Problem } from "./problem";
import type { components } from "./schema";
import { backoff, pause, readStream } from "./stream";

/** Whether the server is there, as the stream of changes tells. */
export type Reach = "connecting" | "live" | "lost";

export const reach = new Store<Reach>("connecting");

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
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      const open = () => {
        attempt = 0;
        if (reach.get() === "lost") found.set(found.get() + 1);
        reach.set("live");
        // Nothing of before is told.
        void queries.invalidateQueries();
      };
      await readStream("/api/v1/events", { open, message: ({ data }) => changed(queries, data) }, signal);
      // It ends by itself after an hour, and with the server.
      if (!signal.aborted) await pause(250, signal);
    } catch (thrown) {
      if (signal.aborted) return;
      if (thrown instanceof Problem && thrown.status === 401) {
        void queries.invalidateQueries({ queryKey: ["me"] });
        return;
      }
      reach.set("lost");
      await pause(backoff(attempt), signal);
    }
  }
}

function changed(queries: QueryClient, data: string): void {
  const change = JSON.parse(data) as components["schemas"]["Change"];
  switch (change.type) {
    case "run":
      void queries.invalidateQueries({ queryKey: ["runs"] });
      void queries.invalidateQueries({ queryKey: ["run", change.id] });
      return;
    case "connection":
      void queries.invalidateQueries({ queryKey: ["connections"] });
      void queries.invalidateQueries({ queryKey: ["providers"] });
      void queries.invalidateQueries({ queryKey: ["models", change.id] });
      return;
    case "resync":
      void queries.invalidateQueries();
  }
}
