import { QueryClient as Queries, type QueryClient, QueryObserver } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { lookUpAgain } from "./live";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** A list that is looked at, which the server answers when it is told to. */
function watched(queries: QueryClient) {
  const answers: (() => void)[] = [];
  const observer = new QueryObserver(queries, {
    queryKey: ["runs", {}],
    queryFn: () => new Promise<number>((resolve) => answers.push(() => resolve(answers.length))),
    networkMode: "always",
  });
  observer.subscribe(() => undefined);
  return answers;
}

it("looks up once what changes often, and again what changed while it was looked up", async () => {
  const queries = new Queries();
  const answers = watched(queries);
  answers[0]?.();
  await vi.advanceTimersByTimeAsync(0);
  const again = lookUpAgain(queries, new AbortController().signal);
  for (let run = 0; run < 30; run += 1) {
    again(["runs"], ["run", String(run)]);
    await vi.advanceTimersByTimeAsync(1);
  }
  await vi.advanceTimersByTimeAsync(300);
  expect(answers.length).toBe(2);

  // What is under way is let come to its end, however much changes meanwhile.
  for (let run = 0; run < 10; run += 1) {
    again(["runs"]);
    await vi.advanceTimersByTimeAsync(300);
  }
  expect(answers.length).toBe(2);
  answers[1]?.();
  await vi.advanceTimersByTimeAsync(300);
  expect(answers.length).toBe(3);
  answers[2]?.();
  await vi.advanceTimersByTimeAsync(3000);
  expect(answers.length).toBe(3);
});

it("looks up nothing for a page that is gone", async () => {
  const queries = new Queries();
  const answers = watched(queries);
  answers[0]?.();
  await vi.advanceTimersByTimeAsync(0);
  const gone = new AbortController();
  lookUpAgain(queries, gone.signal)(["runs"]);
  gone.abort();
  await vi.advanceTimersByTimeAsync(3000);
  expect(answers.length).toBe(1);
});
