const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const plural = (value: number, unit: string) => `${value} ${unit}${value === 1 ? "" : "s"}`;

/** How long, in the largest unit of which it has one: `12 minutes`. */
export function span(ms: number): string {
  if (ms < MINUTE) return plural(Math.floor(ms / SECOND), "second");
  if (ms < HOUR) return plural(Math.floor(ms / MINUTE), "minute");
  if (ms < DAY) return plural(Math.floor(ms / HOUR), "hour");
  return plural(Math.floor(ms / DAY), "day");
}

/** A moment as people say it: `just now`, `12 minutes ago`, `in 3 hours`; a date where it is more than 30 days off. */
export function relative(at: number, now: number): string {
  const past = now - at;
  if (Math.abs(past) >= 30 * DAY) return date(at);
  if (Math.abs(past) < 5 * SECOND) return "just now";
  return past > 0 ? `${span(past)} ago` : `in ${span(-past)}`;
}

/** When what `relative` says of a moment changes, ms from now. */
export function changesIn(at: number, now: number): number {
  const past = Math.abs(now - at);
  const unit = past < MINUTE ? SECOND : past < HOUR ? MINUTE : past < DAY ? HOUR : DAY;
  return Math.max(SECOND, Math.min(unit - (past % unit), HOUR));
}

/** A moment, to the second, where the reader is. */
export const exact = (at: number): string =>
  new Date(at).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "long" });

/** A day, where the reader is. */
export const date = (at: number): string => new Date(at).toLocaleDateString("en-GB", { dateStyle: "medium" });

/** How long something took: `0.8 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(ms: number): string {
  if (ms < 10 * SECOND) return `${(Math.max(ms, 0) / SECOND).toFixed(1)} s`;
  if (ms < MINUTE) return `${Math.round(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ${Math.floor((ms % MINUTE) / SECOND)} s`;
  return `${Math.floor(ms / HOUR)} h ${Math.floor((ms % HOUR) / MINUTE)} min`;
}

/** Where something lies on the clock of a run: `+0.04 s`, `+1 min 3 s`. */
export const offset = (ms: number): string =>
  ms < 10 * SECOND ? `+${(ms / SECOND).toFixed(2)} s` : `+${duration(ms)}`;
