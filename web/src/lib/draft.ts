import { Store, useStore } from "./store";

const PREFIX = "polydev.draft.";

const drafts = new Map<string, Store<string>>();

/** Texts that are kept for as long as their tab, where the browser keeps them. */
const kept = {
  read(key: string): string {
    try {
      return sessionStorage.getItem(key) ?? "";
    } catch {
      return "";
    }
  },
  write(key: string, text: string): void {
    try {
      if (text === "") sessionStorage.removeItem(key);
      else sessionStorage.setItem(key, text);
    } catch {
      // Too long for the browser to keep, or it keeps nothing.
    }
  },
};

function draft(whose: string, name: string): Store<string> {
  const key = `${PREFIX}${whose}.${name}`;
  const known = drafts.get(key);
  if (known) return known;
  const fresh = new Store(kept.read(key));
  fresh.follow(() => kept.write(key, fresh.get()));
  drafts.set(key, fresh);
  return fresh;
}

/** A text that somebody is writing: it outlives the page in its tab, and nothing more. */
export function useDraft(whose: string, name: string): [string, (text: string) => void] {
  const store = draft(whose, name);
  return [useStore(store), store.set];
}

/** Puts a text where it is written. */
export const setDraft = (whose: string, name: string, text: string): void => draft(whose, name).set(text);

/** Forgets every draft but this person's: somebody else may come next. */
export function forgetDrafts(but?: string): void {
  const mine = (key: string) => but !== undefined && key.startsWith(`${PREFIX}${but}.`);
  for (const key of [...drafts.keys()]) if (!mine(key)) drafts.delete(key);
  try {
    for (const key of Object.keys(sessionStorage)) {
      if (key.startsWith(PREFIX) && !mine(key)) sessionStorage.removeItem(key);
    }
  } catch {
    // It keeps nothing.
  }
}
