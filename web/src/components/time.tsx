import { useEffect, useState } from "react";
import { changesIn, exact, relative } from "../lib/time";

/** The clock, read again whenever what is said of this moment changes. */
function useNow(at: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setTimeout(() => setNow(Date.now()), changesIn(at, now));
    return () => clearTimeout(timer);
  }, [at, now]);
  return now;
}

/** A moment, as people say it; exactly for the pointer and for programs. */
export function Time({ at, className }: { at: string; className?: string }) {
  const moment = Date.parse(at);
  const now = useNow(moment);
  return (
    <time dateTime={at} title={exact(moment)} className={`whitespace-nowrap ${className ?? ""}`}>
      {relative(moment, now)}
    </time>
  );
}
