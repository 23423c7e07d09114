import { useEffect, useState } from "react";
import { type Folded, fold, isOver, NOTHING } from "../lib/fold";
import { Store, useStore } from "../lib/store";
import type { RunEvent } from "./client";
import { found } from "./live";
import { asProblem, type Problem } from "./problem";
import { backoff, pause, readStream } from "./stream";

/** A run as it is followed. */
export type Followed = {
  run: Folded;
  /** Every event so far, as the server sent it. */
  events: RunEvent[];
  /** The server does not answer; it is asked again and again. */
  lost: boolean;
  /** Why it is followed no further. */
  problem: Problem | null;
};

const BEGIN: Followed = { run: NOTHING, events: [], lost: false, problem: null };

/** How long a hidden page, which draws nothing, waits before it takes what has come, ms. */
const HIDDEN_WAIT = 500;

/** Follows a run from its start to its end, across lost connections and servers that begin anew. */
async function follow(id: string, shown: Store<Followed>, signal: AbortSignal): Promise<void> {
  let waiting: RunEvent[] = [];
  let due = false;
  const take = () => {
    due = false;
    if (waiting.length === 0 || signal.aborted) return;
    const now = shown.get();
    const events = waiting;
    waiting = [];
    shown.set({ ...now, lost: false, run: fold(now.run, events), events: [...now.events, ...events] });
  };
  // What comes is shown once a frame, however much it is.
  const soon = () => {
    if (due) return;
    due = true;
    if (document.visibilityState === "visible") requestAnimationFrame(take);
    else setTimeout(take, HIDDEN_WAIT);
  };
  let last = 0;
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    try {
      const open = () => {
        attempt = 0;
        if (shown.get().lost) shown.set({ ...shown.get(), lost: false });
      };
      const message = ({ data }: { data: string }) => {
        const event = JSON.parse(data) as RunEvent;
        if (event.seq <= last) return;
        last = event.seq;
        waiting.push(event);
        soon();
      };
      const path = `/api/v1/runs/${encodeURIComponent(id)}/events?after=${last}`;
      const end = await readStream(path, { open, message }, signal);
      take();
      if (end === "nothing more" || isOver(shown.get().run.status)) return;
      await pause(250, signal);
    } catch (thrown) {
      if (signal.aborted) return;
      take();
      const problem = asProblem(thrown);
      // Whose session has ended may sign in again, and is asked to by whatever else the page looks up.
      const passes = problem.status === 0 || problem.status >= 500 || problem.status === 429 || problem.status === 401;
      if (!passes) {
        shown.set({ ...shown.get(), problem, lost: false });
        return;
      }
      shown.set({ ...shown.get(), lost: true });
      await foundOrLater(backoff(attempt), signal);
    }
  }
}

/** Waits, and no longer than until another stream has found the server again. */
async function foundOrLater(ms: number, signal: AbortSignal): Promise<void> {
  const early = new AbortController();
  const unfollow = found.follow(() => early.abort());
  await pause(ms, AbortSignal.any([signal, early.signal]));
  unfollow();
}

/** A run, followed while it is shown. */
export function useRunEvents(id: string | undefined): Followed {
  const [stores] = useState(() => new Map<string, Store<Followed>>());
  const key = id ?? "";
  let shown = stores.get(key);
  if (!shown) {
    shown = new Store(BEGIN);
    stores.set(key, shown);
  }
  useEffect(() => {
    if (key === "") return;
    const fresh = stores.get(key);
    if (!fresh) return;
    // A page that comes back begins anew: the server has it all.
    fresh.set(BEGIN);
    const stop = new AbortController();
    void follow(key, fresh, stop.signal);
    return () => stop.abort();
  }, [key, stores]);
  return useStore(shown);
}
