import type { Usage } from "../../api/client";
import type { Folded } from "../../lib/fold";
import { isOver } from "../../lib/fold";
import { useNow } from "../../lib/now";
import { count, dollars } from "../../lib/text";
import { duration } from "../../lib/time";

/** Tokens and money, in a line. */
export function usageWords(usage: Usage): string {
  const cached = usage.cached_tokens > 0 ? ` (${count(usage.cached_tokens)} cached)` : "";
  const cost = usage.cost_usd == null ? "" : ` · ${dollars(usage.cost_usd)}`;
  return `${count(usage.input_tokens)} in${cached} · ${count(usage.output_tokens)} out${cost}`;
}

/** What a run has taken so far: its time, its tokens, its cost. */
export function Figures({ run }: { run: Folded }) {
  const from = run.startedAt ?? run.queuedAt;
  const now = useNow(from !== null && !isOver(run.status));
  const took = from === null ? null : (run.endedAt ?? now) - from;
  return (
    <span className="figures text-ink-soft">
      {took !== null && (run.endedAt === null ? `${Math.max(0, Math.floor(took / 1000))} s` : duration(took))}
      {run.usage && ` · ${usageWords(run.usage)}`}
    </span>
  );
}
