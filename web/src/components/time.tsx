import { useEffect, useReducer } from "react";
import { changesIn, exact, relative, span } from "../lib/time";

/** The clock, read again whenever what is said of this moment changes, and whenever it is drawn. */
function useClock(at: number): number {
  const [, tick] = useReducer((ticks: number) => ticks + 1, 0);
  const now = Date.now();
  useEffect(() => {
    const timer = setTimeout(tick, changesIn(at, now));
    return () => clearTimeout(timer);
  });
  return now;
}

/** A moment, as people say it; exactly for the pointer and for programs. */
export function Time({ at, className }: { at: string; className?: string }) {
  const moment = Date.parse(at);
  const now = useClock(moment);
  return (
    <time dateTime={at} title={exact(moment)} className={`whitespace-nowrap ${className ?? ""}`}>
      {relative(moment, now)}
    </time>
  );
}

/** That something can be tried again, and when. */
export function TryAgain({ at }: { at: string }) {
  const moment = Date.parse(at);
  const left = moment - useClock(moment);
  if (left <= 0) return <p>It can be tried again now.</p>;
  return (
    <p>
      It can be tried again in{" "}
      <time dateTime={at} title={exact(moment)}>
        {span(Math.ceil(left / 1000) * 1000)}
      </time>
      .
    </p>
  );
}
