import type { RunEvent } from "../api/client";

/** A line of a run's timeline: an event, or pieces of the same text one after the other. */
export type Line = { seq: number; at: number; type: RunEvent["type"]; events: RunEvent[]; gist: string };

/** The events as lines: an answer of a thousand pieces is one of them. */
export function lines(events: RunEvent[]): Line[] {
  const all: Line[] = [];
  for (const event of events) {
    const last = all.at(-1);
    const goesOn = last?.type === event.type && (event.type === "text.delta" || event.type === "reasoning.delta");
    if (last && goesOn) last.events.push(event);
    else all.push({ seq: event.seq, at: event.at, type: event.type, events: [event], gist: "" });
  }
  for (const line of all) line.gist = gist(line);
  return all;
}

/** What an event says, in a line. */
function gist({ events }: Line): string {
  const event = events[0];
  if (!event) return "";
  switch (event.type) {
    case "run.queued":
      return event.run_id;
    case "run.started":
      return event.sandbox_id;
    case "text.delta":
    case "reasoning.delta": {
      const text = events.map((one) => ("text" in one ? one.text : "")).join("");
      return `${text.length} characters in ${events.length} ${events.length === 1 ? "piece" : "pieces"}`;
    }
    case "tool.call":
      return `${event.name} ${JSON.stringify(event.input)}`;
    case "tool.result":
      return `${event.ok ? "ok" : "failed"}: ${event.output}`;
    case "usage":
      return `${event.input_tokens} in, ${event.output_tokens} out`;
    case "log":
      return `${event.level}: ${event.text}`;
    case "run.completed":
      return `${event.text.length} characters`;
    case "run.failed":
      return `${event.error.code}: ${event.error.message}`;
    case "run.cancelled":
      return "";
  }
}

/** The events as they are kept in a file: one a line. */
export const asLines = (events: RunEvent[]): string => events.map((event) => `${JSON.stringify(event)}\n`).join("");
