import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Run, RunStatus } from "../../api/client";
import { useRunEvents } from "../../api/follow";
import { queries } from "../../api/queries";
import { type Folded, isOver } from "../../lib/fold";
import { useSpoken } from "../../lib/spoken";
import { ofRun } from "../../lib/standing";
import { Figures } from "../answer/figures";
import { Transcript } from "../answer/transcript";
import { Loading } from "../asked";
import { Button, pressed } from "../button";
import { CopyButton } from "../copy";
import { FailureNote } from "../failure-note";
import { ProblemNote } from "../problem-note";
import { Reconnect } from "../reconnect";
import { RunStop } from "../run-stop";
import { Status } from "../status";

type Props = {
  id: string;
  /** Whether all that it was asked with is here, its files too. */
  kept: boolean;
  onResend: (run: Run) => void;
  resending: boolean;
};

/** Whichever is newer: the stream tells sooner, the run tells of what ended long ago. */
const standing = (told: RunStatus | undefined, run: Folded): RunStatus | undefined =>
  told !== undefined && (run.seq === 0 || isOver(told)) ? told : run.seq === 0 ? undefined : run.status;

/** The answer, as it comes. */
export function Answer({ id, kept, onResend, resending }: Props) {
  const about = useQuery(queries.run(id));
  const { run, lost, problem } = useRunEvents(id);
  const status = about.isPending ? undefined : standing(about.data?.status, run);
  const over = status !== undefined && isOver(status);
  const failure = run.error ?? about.data?.error;
  const { is, word } = ofRun(status ?? "queued", failure?.code);
  useSpoken(run.answer, status && (over ? `${word}.` : null));
  const resend = about.data && (kept || about.data.given) && (
    <Button icon="again" busy={resending} onClick={() => onResend(about.data)}>
      Resend
    </Button>
  );
  if (problem) {
    return (
      <ProblemNote problem={problem} title="The answer cannot be shown">
        {resend}
      </ProblemNote>
    );
  }
  if (!status) return <Loading />;
  return (
    <>
      <div className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2 border-b pb-3">
        <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
          <Status is={is}>{word}</Status>
          <Figures run={run} />
        </div>
        <div className="flex flex-wrap items-center gap-2">
          {!over && <RunStop id={id} />}
          {over && run.answer !== "" && <CopyButton text={run.answer} />}
          {over && status !== "failed" && resend}
          <Link to="/runs/$id" params={{ id }} className={pressed("quiet")}>
            Open the run
          </Link>
        </div>
      </div>
      {lost && (
        <p role="status" className="mt-4 text-wary">
          What comes next is shown as soon as the server answers again.
        </p>
      )}
      <div className="mt-4 space-y-4" aria-busy={!over}>
        <Transcript run={run} over={over} />
        {run.parts.length === 0 && !over && (
          <Loading>{status === "queued" ? "It waits for its turn" : "Its tool is at work"}</Loading>
        )}
        {failure && (
          <FailureNote failure={failure}>
            {about.data && <Reconnect code={failure.code} provider={about.data.provider} />}
            {resend}
          </FailureNote>
        )}
        {status === "cancelled" && <p className="text-ink-soft">It was stopped here.</p>}
        {run.status === "completed" && run.answer === "" && <p className="text-ink-soft">It ended without a word.</p>}
      </div>
    </>
  );
}
