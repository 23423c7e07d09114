import { useEffect, useState } from "react";

const PREFIX = "polydev.draft.";

/** A text that is being written: it outlives the page in its tab, and nothing more. */
export function useDraft(name: string): [string, (text: string) => void] {
  const key = PREFIX + name;
  const [text, setText] = useState(() => {
    try {
      return sessionStorage.getItem(key) ?? "";
    } catch {
      return "";
    }
  });
  useEffect(() => {
    try {
      if (text === "") sessionStorage.removeItem(key);
      else sessionStorage.setItem(key, text);
    } catch {
      // Too long for the browser to keep, or it keeps nothing.
    }
  }, [key, text]);
  return [text, setText];
}

/** Forgets every draft: somebody else may come next. */
export function forgetDrafts(): void {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX)) sessionStorage.removeItem(key);
  } catch {
    // It keeps nothing.
  }
}
