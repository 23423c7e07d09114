import type { Failure, RunEvent, RunStatus, Usage } from "../api/client";

/** What is shown of a run, in the order in which it came. */
export type Part =
  | { kind: "text" | "reasoning"; seq: number; at: number; text: string }
  | { kind: "tool"; seq: number; at: number; id: string; name: string; input: unknown; result: ToolResult | null }
  | { kind: "log"; seq: number; at: number; level: "info" | "warn" | "error"; text: string };

export type ToolResult = { ok: boolean; output: string; truncated: boolean; at: number };

/** A run as its events tell of it so far. */
export type Folded = {
  /** The number of the last event. */
  seq: number;
  status: RunStatus;
  parts: Part[];
  /** The pieces of the answer together. */
  answer: string;
  usage: Usage | null;
  error: Failure | null;
  sandbox: string | null;
  /** Unix milliseconds, each once it has happened. */
  queuedAt: number | null;
  startedAt: number | null;
  endedAt: number | null;
};

export const NOTHING: Folded = {
  seq: 0,
  status: "queued",
  parts: [],
  answer: "",
  usage: null,
  error: null,
  sandbox: null,
  queuedAt: null,
  startedAt: null,
  endedAt: null,
};

export const isOver = (status: RunStatus): boolean =>
  status === "completed" || status === "failed" || status === "cancelled";

/** The run after these events as well. Those that are known already, as a resumed stream may send them, are left out. */
export function fold(before: Folded, events: RunEvent[]): Folded {
  const run = { ...before, parts: [...before.parts] };
  for (const event of events) {
    if (event.seq <= run.seq) continue;
    run.seq = event.seq;
    apply(run, event);
  }
  return run;
}

function apply(run: Folded, event: RunEvent): void {
  const { seq, at } = event;
  switch (event.type) {
    case "run.queued":
      run.queuedAt = at;
      return;
    case "run.started":
      run.status = "running";
      run.startedAt = at;
      run.sandbox = event.sandbox_id;
      return;
    case "text.delta":
      run.answer += event.text;
      extend(run.parts, "text", event.text, seq, at);
      return;
    case "reasoning.delta":
      extend(run.parts, "reasoning", event.text, seq, at);
      return;
    case "tool.call":
      run.parts.push({ kind: "tool", seq, at, id: event.id, name: event.name, input: event.input, result: null });
      return;
    case "tool.result":
      answer(run.parts, event.id, { ok: event.ok, output: event.output, truncated: event.truncated, at });
      return;
    case "usage":
      run.usage = event;
      return;
    case "log":
      run.parts.push({ kind: "log", seq, at, level: event.level, text: event.text });
      return;
    case "run.completed":
      run.status = "completed";
      run.usage = event.usage ?? run.usage;
      run.endedAt = at;
      return;
    case "run.failed":
      run.status = "failed";
      run.error = event.error;
      run.endedAt = at;
      return;
    case "run.cancelled":
      run.status = "cancelled";
      run.endedAt = at;
  }
}

/** A piece of text goes on with the part before it, where that is of its kind. */
function extend(parts: Part[], kind: "text" | "reasoning", text: string, seq: number, at: number): void {
  const last = parts.at(-1);
  if (last?.kind === kind) parts[parts.length - 1] = { ...last, text: last.text + text };
  else parts.push({ kind, seq, at, text });
}

/** What a tool said goes to its call. */
function answer(parts: Part[], id: string, result: ToolResult): void {
  const at = parts.findLastIndex((part) => part.kind === "tool" && part.id === id && part.result === null);
  const call = parts[at];
  if (call?.kind === "tool") parts[at] = { ...call, result };
}
