import type { Folded, Part } from "../../lib/fold";
import { Fold } from "../fold";
import { Icon } from "../icon";
import { Status } from "../status";
import { AnswerText } from "./text";
import { ToolCall } from "./tool-call";

const LEVELS = { info: "idle", warn: "wary", error: "bad" } as const;
const WORDS = { info: "Note", warn: "Warning", error: "Error" } as const;

/** A run in the order in which it came: what was said, thought and done. */
export function Transcript({ run, over }: { run: Folded; over: boolean }) {
  const last = run.parts.at(-1);
  return (
    <div className="space-y-4">
      {run.parts.map((part) => (
        <One key={part.seq} part={part} over={over} growing={!over && part === last} />
      ))}
    </div>
  );
}

function One({ part, over, growing }: { part: Part; over: boolean; growing: boolean }) {
  switch (part.kind) {
    case "text":
      return <AnswerText text={part.text} growing={growing} />;
    case "reasoning":
      return (
        <Fold
          summary={
            <>
              <Icon name="thought" className="text-ink-faint" />
              <span className="text-ink-soft">{growing ? "Thinking" : "What it thought"}</span>
            </>
          }
        >
          <p className="max-w-prose border-l pl-3 break-words whitespace-pre-wrap text-ink-soft">{part.text}</p>
        </Fold>
      );
    case "tool":
      return <ToolCall call={part} over={over} />;
    case "log":
      return (
        <p className="flex gap-2 text-ink-soft">
          <Status is={LEVELS[part.level]} className="self-start">
            {WORDS[part.level]}
          </Status>
          <span className="min-w-0 break-words whitespace-pre-wrap">{part.text}</span>
        </p>
      );
  }
}
