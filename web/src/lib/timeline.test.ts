import { expect, it } from "vitest";
import type { RunEvent } from "../api/client";
import { asLines, lines } from "./timeline";

const event = (seq: number, type: string, more: object) =>
  ({ seq, at: seq * 10, type, ...more }) as unknown as RunEvent;

it("makes one line of the pieces of a text", () => {
  const events = [
    event(1, "run.queued", { run_id: "run_a" }),
    event(2, "text.delta", { text: "a" }),
    event(3, "text.delta", { text: "bc" }),
    event(4, "tool.call", { id: "1", name: "Bash", input: { command: "ls" } }),
    event(5, "tool.call", { id: "2", name: "Bash", input: {} }),
    event(6, "tool.result", { id: "1", ok: true, output: "x", truncated: false }),
    event(7, "text.delta", { text: "d" }),
    event(8, "run.failed", { error: { code: "timeout", message: "it took too long" } }),
  ];
  expect(lines(events).map(({ seq, type, gist }) => `${seq} ${type} ${gist}`)).toEqual([
    "1 run.queued run_a",
    "2 text.delta 3 characters in 2 pieces",
    '4 tool.call Bash {"command":"ls"}',
    "5 tool.call Bash {}",
    "6 tool.result ok: x",
    "7 text.delta 1 characters in 1 piece",
    "8 run.failed timeout: it took too long",
  ]);
  expect(
    asLines(events)
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
  ).toEqual(events);
});
