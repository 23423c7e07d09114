import { useEffect, useRef } from "react";
import { announce } from "./announce";

/** How often a text that grows is read on, ms: what is read sooner cuts off what is being read. */
const EVERY = 2500;

/**
 * Reads a growing text to a screen reader, sentence after sentence, and says when it is over: `null` before that,
 * `undefined` while it is not known. What was over from the start is not read.
 */
export function useSpoken(text: string, over: string | null | undefined): void {
  const said = useRef(0);
  const latest = useRef(text);
  latest.current = text;
  useEffect(() => {
    if (over !== null) return;
    said.current = 0;
    const timer = setInterval(() => {
      const fresh = latest.current.slice(said.current);
      const end = fresh.search(/[.!?:](\s|$)(?!.*[.!?:](\s|$))/s);
      if (end < 0) return;
      said.current += end + 1;
      announce(fresh.slice(0, end + 1));
    }, EVERY);
    return () => {
      clearInterval(timer);
    };
  }, [over]);
  const before = useRef(over);
  useEffect(() => {
    if (typeof over === "string" && before.current === null) {
      announce(`${latest.current.slice(said.current)} ${over}`.trim().slice(-2000));
    }
    before.current = over;
  }, [over]);
}
