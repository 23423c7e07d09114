import type { components } from "../api/schema";

export type Day = components["schemas"]["UsageView"];

/** What was used of one provider over some days. */
export type Sum = { provider: string; runs: number; input: number; output: number; cost: number | null };

/** The days summed, by provider. */
export function byProvider(days: Day[]): Sum[] {
  const sums = new Map<string, Sum>();
  for (const day of days) {
    const sum = sums.get(day.provider) ?? { provider: day.provider, runs: 0, input: 0, output: 0, cost: null };
    sum.runs += day.runs;
    sum.input += day.input_tokens;
    sum.output += day.output_tokens;
    if (day.cost_usd != null) sum.cost = (sum.cost ?? 0) + day.cost_usd;
    sums.set(day.provider, sum);
  }
  return [...sums.values()].sort((a, b) => b.runs - a.runs);
}

/** How many runs there were on each of the last so many days, the oldest first; days are UTC's. */
export function perDay(days: Day[], last: number, now: number): { day: string; runs: number }[] {
  return Array.from({ length: last }, (_, at) => {
    const day = new Date(now - (last - 1 - at) * 24 * 60 * 60 * 1000).toISOString().slice(0, 10);
    return { day, runs: days.filter((one) => one.day === day).reduce((sum, one) => sum + one.runs, 0) };
  });
}
