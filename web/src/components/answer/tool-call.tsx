import type { Part } from "../../lib/fold";
import { firstLine } from "../../lib/text";
import { duration } from "../../lib/time";
import { Fold, Verbatim } from "../fold";
import { Icon } from "../icon";
import { Status } from "../status";

type Call = Extract<Part, { kind: "tool" }>;

/** What was given to a tool, in a line: the one text that says most of it. */
function gist(input: unknown): string {
  if (typeof input === "string") return firstLine(input);
  if (input === null || typeof input !== "object") return "";
  const texts = Object.values(input).filter((value): value is string => typeof value === "string" && value !== "");
  return firstLine(texts[0] ?? JSON.stringify(input));
}

/** A call of one of the tool's own tools, folded. */
export function ToolCall({ call, over }: { call: Call; over: boolean }) {
  const { name, input, result } = call;
  const state = result ? (result.ok ? "good" : "bad") : over ? "idle" : "busy";
  const word = result ? (result.ok ? "Done" : "Failed") : over ? "No answer" : "Working";
  return (
    <Fold
      summary={
        <>
          <Icon name="tool" className="text-ink-faint" />
          <span className="font-medium">{name}</span>
          <code className="min-w-0 grow truncate text-ink-soft">{gist(input)}</code>
          {result && (
            <span className="figures hidden text-xs whitespace-nowrap text-ink-faint sm:inline">
              {duration(result.at - call.at)}
            </span>
          )}
          <Status is={state} className="text-xs">
            {word}
          </Status>
        </>
      }
    >
      <div className="space-y-2">
        <Verbatim label={`What ${name} was given`}>{JSON.stringify(input, null, 2) ?? ""}</Verbatim>
        {result && <Verbatim label={`What ${name} said`}>{result.output || "(nothing)"}</Verbatim>}
        {result?.truncated && <p className="text-ink-soft">It said more than is kept.</p>}
      </div>
    </Fold>
  );
}
