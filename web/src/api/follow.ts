import { useEffect, useState } from "react";
import * as runs from "../lib/fold";
import * as logins from "../lib/login";
import { Store, useStore } from "../lib/store";
import type { LoginEvent, RunEvent } from "./client";
import { found } from "./live";
import { asProblem, type Problem } from "./problem";
import { backoff, pause, readStream } from "./stream";

/** Something with events of its own, as it is followed. */
export type Followed<State, Event> = {
  /** What the events so far make of it. */
  state: State;
  /** Every event so far, as the server sent it. */
  events: Event[];
  /** The server does not answer; it is asked again and again. */
  lost: boolean;
  /** Why it is followed no further. */
  problem: Problem | null;
};

/** What is followed: where its events are, and what they mean. */
type Kind<State, Event> = {
  path: (id: string) => string;
  nothing: State;
  fold: (before: State, events: Event[]) => State;
  isOver: (state: State) => boolean;
};

const RUN: Kind<runs.Folded, RunEvent> = {
  path: (id) => `/api/v1/runs/${encodeURIComponent(id)}/events`,
  nothing: runs.NOTHING,
  fold: runs.fold,
  isOver: ({ status }) => runs.isOver(status),
};

const LOGIN: Kind<logins.Folded, LoginEvent> = {
  path: (id) => `/api/v1/logins/${encodeURIComponent(id)}/events`,
  nothing: logins.NOTHING,
  fold: logins.fold,
  isOver: ({ status }) => logins.isOver(status),
};

/** How long a hidden page, which draws nothing, waits before it takes what has come, ms. */
const HIDDEN_WAIT = 500;

/** Follows it from its start to its end, across lost connections and servers that begin anew. */
async function follow<State, Event extends { seq: number }>(
  kind: Kind<State, Event>,
  id: string,
  shown: Store<Followed<State, Event>>,
  signal: AbortSignal,
): Promise<void> {
  let waiting: Event[] = [];
  let due = false;
  const take = () => {
    due = false;
    if (waiting.length === 0 || signal.aborted) return;
    const now = shown.get();
    const events = waiting;
    waiting = [];
    shown.set({ ...now, lost: false, state: kind.fold(now.state, events), events: [...now.events, ...events] });
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
        const event = JSON.parse(data) as Event;
        if (event.seq <= last) return;
        last = event.seq;
        waiting.push(event);
        soon();
      };
      const end = await readStream(`${kind.path(id)}?after=${last}`, { open, message }, signal);
      take();
      if (end === "nothing more" || kind.isOver(shown.get().state)) return;
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
export async function foundOrLater(ms: number, signal: AbortSignal): Promise<void> {
  const early = new AbortController();
  const unfollow = found.follow(() => early.abort());
  await pause(ms, AbortSignal.any([signal, early.signal]));
  unfollow();
}

function useFollowed<State, Event extends { seq: number }>(
  kind: Kind<State, Event>,
  id: string | undefined,
): Followed<State, Event> {
  const [stores] = useState(() => new Map<string, Store<Followed<State, Event>>>());
  const key = id ?? "";
  let shown = stores.get(key);
  if (!shown) {
    shown = new Store(begin(kind));
    stores.set(key, shown);
  }
  useEffect(() => {
    if (key === "") return;
    const fresh = stores.get(key);
    if (!fresh) return;
    // A page that comes back begins anew: the server has it all.
    fresh.set(begin(kind));
    const stop = new AbortController();
    void follow(kind, key, fresh, stop.signal);
    return () => stop.abort();
  }, [key, kind, stores]);
  return useStore(shown);
}

const begin = <State, Event>(kind: Kind<State, Event>): Followed<State, Event> => ({
  state: kind.nothing,
  events: [],
  lost: false,
  problem: null,
});

/** A run, followed while it is shown. */
export function useRunEvents(id: string | undefined) {
  const { state, ...rest } = useFollowed(RUN, id);
  return { run: state, ...rest };
}

/** A login, followed while it is shown. */
export const useLoginEvents = (id: string | undefined) => useFollowed(LOGIN, id);
