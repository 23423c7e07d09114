import type { ReactNode } from "react";
import type { Run } from "../../api/client";
import { count, dollars } from "../../lib/text";
import { duration } from "../../lib/time";
import { CopyIcon } from "../copy";
import { Time } from "../time";

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex items-baseline justify-between gap-4 py-1.5">
      <dt className="text-ink-faint">{name}</dt>
      <dd className="figures min-w-0 text-right break-words">{children}</dd>
    </div>
  );
}

/** What there is to know of a run, in figures. */
export function Facts({ run }: { run: Run }) {
  const { usage, metadata } = run;
  const waited = run.started_at ? Date.parse(run.started_at) - Date.parse(run.created_at) : null;
  return (
    <dl className="divide-y border-y">
      <Fact name="Run">
        <code className="text-xs">{run.id}</code>
        <CopyIcon text={run.id} what="the run's id" className="-my-2" />
      </Fact>
      <Fact name="Provider">{run.provider}</Fact>
      <Fact name="Model">{run.model ?? "the provider's default"}</Fact>
      <Fact name="Asked">
        <Time at={run.created_at} />
      </Fact>
      {waited !== null && <Fact name="Waited">{duration(waited)}</Fact>}
      {run.duration_ms != null && <Fact name="Took">{duration(run.duration_ms)}</Fact>}
      {usage && (
        <>
          <Fact name="Tokens in">{count(usage.input_tokens)}</Fact>
          <Fact name="of them cached">{count(usage.cached_tokens)}</Fact>
          <Fact name="Tokens out">{count(usage.output_tokens)}</Fact>
          <Fact name="Cost">{usage.cost_usd == null ? "not told" : dollars(usage.cost_usd)}</Fact>
        </>
      )}
      {metadata && (
        <Fact name="Notes">
          <code className="text-xs break-all">{JSON.stringify(metadata)}</code>
        </Fact>
      )}
    </dl>
  );
}
