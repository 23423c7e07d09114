import { expect, it } from "vitest";
import { changesIn, duration, offset, relative } from "./time";

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const DAY = 24 * HOUR;
const now = Date.UTC(2026, 10, 23, 12);

it("says a moment as people do", () => {
  for (const [ago, said] of [
    [0, "just now"],
    [-4 * SECOND, "just now"],
    [12 * SECOND, "12 seconds ago"],
    [61 * SECOND, "1 minute ago"],
    [59 * 60 * SECOND, "59 minutes ago"],
    [HOUR, "1 hour ago"],
    [25 * HOUR, "1 day ago"],
    [29 * DAY, "29 days ago"],
    [-3 * HOUR, "in 3 hours"],
  ] as const) {
    expect(relative(now - ago, now)).toBe(said);
  }
  expect(relative(now - 40 * DAY, now)).toBe("14 Oct 2026");
});

it("is read again when what it says changes", () => {
  expect(changesIn(now - 12_300, now)).toBe(1000);
  expect(changesIn(now - 61 * SECOND, now)).toBe(59 * SECOND);
  expect(changesIn(now - 2 * DAY, now)).toBe(HOUR);
});

it("says how long something took", () => {
  expect([0, 840, 9960, 12_400, 59_400, 65_000, 2 * HOUR + 10 * 60_000].map(duration)).toEqual([
    "0.0 s",
    "0.8 s",
    "10.0 s",
    "12 s",
    "59 s",
    "1 min 5 s",
    "2 h 10 min",
  ]);
  expect([40, 63_000].map(offset)).toEqual(["+0.04 s", "+1 min 3 s"]);
});
