import { expect, it } from "vitest";
import { byProvider, type Day, perDay } from "./usage";

const day = (day: string, provider: string, runs: number, cost_usd: number | null): Day => ({
  day,
  provider,
  runs,
  input_tokens: 10 * runs,
  output_tokens: runs,
  cached_tokens: 0,
  cost_usd,
});

const days = [
  day("2026-11-23", "codex", 1, null),
  day("2026-11-23", "claude", 2, 0.5),
  day("2026-11-21", "claude", 3, null),
  day("2026-11-21", "claude", 1, 0.25),
];

it("sums days by provider", () => {
  expect(byProvider(days)).toEqual([
    { provider: "claude", runs: 6, input: 60, output: 6, cost: 0.75 },
    { provider: "codex", runs: 1, input: 10, output: 1, cost: null },
  ]);
});

it("has every day, those without runs too", () => {
  expect(perDay(days, 3, Date.UTC(2026, 10, 23, 1))).toEqual([
    { day: "2026-11-21", runs: 4 },
    { day: "2026-11-22", runs: 0 },
    { day: "2026-11-23", runs: 3 },
  ]);
});
