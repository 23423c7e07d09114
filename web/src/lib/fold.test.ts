import { describe, expect, it } from "vitest";
import type { RunEvent } from "../api/client";
import { fold, isOver, NOTHING } from "./fold";

const events = [
  { seq: 1, at: 100, type: "run.queued", run_id: "run_a" },
  { seq: 2, at: 200, type: "run.started", sandbox_id: "sbx_a" },
  { seq: 3, at: 210, type: "reasoning.delta", text: "Let me " },
  { seq: 4, at: 220, type: "reasoning.delta", text: "look." },
  { seq: 5, at: 230, type: "text.delta", text: "I " },
  { seq: 6, at: 240, type: "text.delta", text: "look." },
  { seq: 7, at: 250, type: "tool.call", id: "t1", name: "Bash", input: { command: "ls" } },
  { seq: 8, at: 260, type: "tool.call", id: "t2", name: "Bash", input: { command: "pwd" } },
  { seq: 9, at: 270, type: "log", level: "warn", text: "slow" },
  { seq: 10, at: 280, type: "tool.result", id: "t1", ok: false, output: "no", truncated: true },
  { seq: 11, at: 290, type: "text.delta", text: " Done." },
  { seq: 12, at: 300, type: "usage", input_tokens: 5, output_tokens: 2, cached_tokens: 1, cost_usd: 0.01 },
  { seq: 13, at: 310, type: "run.completed", text: "I look. Done.", usage: null, duration_ms: 110 },
] as unknown as RunEvent[];

describe("fold", () => {
  it("makes of events what is shown", () => {
    const run = fold(NOTHING, events);
    expect(run).toMatchObject({ seq: 13, status: "completed", answer: "I look. Done.", sandbox: "sbx_a", error: null });
    expect(run.usage).toMatchObject({ input_tokens: 5, cost_usd: 0.01 });
    expect([run.queuedAt, run.startedAt, run.endedAt]).toEqual([100, 200, 310]);
    expect(run.parts.map((part) => (part.kind === "tool" ? part.id : `${part.kind}: ${part.text}`))).toEqual([
      "reasoning: Let me look.",
      "text: I look.",
      "t1",
      "t2",
      "log: slow",
      "text:  Done.",
    ]);
    expect(run.parts[2]).toMatchObject({ result: { ok: false, output: "no", truncated: true, at: 280 } });
    expect(run.parts[3]).toMatchObject({ result: null });
  });

  it("is the same however the events are cut, and where some come twice", () => {
    const whole = fold(NOTHING, events);
    for (let cut = 0; cut <= events.length; cut += 1) {
      const half = fold(NOTHING, events.slice(0, cut));
      expect(fold(half, events.slice(Math.max(0, cut - 3)))).toEqual(whole);
    }
  });

  it("leaves what was before as it was", () => {
    const half = fold(NOTHING, events.slice(0, 5));
    const copy = structuredClone(half);
    fold(half, events.slice(5));
    expect(half).toEqual(copy);
    expect(NOTHING.parts).toEqual([]);
  });

  it("knows how it ended", () => {
    const error = { code: "interrupted", message: "the server stopped", hint: null };
    const failed = fold(NOTHING, [{ seq: 1, at: 1, type: "run.failed", error } as unknown as RunEvent]);
    expect(failed).toMatchObject({ status: "failed", error: { code: "interrupted" }, endedAt: 1 });
    expect(fold(NOTHING, [{ seq: 1, at: 1, type: "run.cancelled" } as RunEvent]).status).toBe("cancelled");
    expect((["queued", "running", "completed", "failed", "cancelled"] as const).map(isOver)).toEqual([
      false,
      false,
      true,
      true,
      true,
    ]);
  });
});
