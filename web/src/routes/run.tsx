import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useEffect } from "react";
import type { Run } from "../api/client";
import { useRunEvents } from "../api/follow";
import { asProblem } from "../api/problem";
import { queries } from "../api/queries";
import { sentAs, useSend } from "../api/send";
import { Transcript } from "../components/answer/transcript";
import { Asked, Loading } from "../components/asked";
import { Button, pressed } from "../components/button";
import { CopyIcon } from "../components/copy";
import { FailureNote } from "../components/failure-note";
import { Page } from "../components/page";
import { useFillIn } from "../components/playground/fill-in";
import { ProblemNote } from "../components/problem-note";
import { Reconnect } from "../components/reconnect";
import { Console } from "../components/run/console";
import { DeleteRun } from "../components/run/delete-run";
import { Downloads } from "../components/run/downloads";
import { Facts } from "../components/run/facts";
import { FilesOut } from "../components/run/files-out";
import { NetworkSeen } from "../components/run/network";
import { Timeline } from "../components/run/timeline";
import { RunStop } from "../components/run-stop";
import { Section } from "../components/section";
import { Status } from "../components/status";
import { Tabs } from "../components/tabs";
import { isOver } from "../lib/fold";
import { useSpoken } from "../lib/spoken";
import { ofRun } from "../lib/standing";
import { firstLine } from "../lib/text";

/** Everything of one run. */
export function RunPage() {
  const { id } = useParams({ from: "/inside/runs/$id" });
  const run = useQuery(queries.run(id));
  // One that was deleted meanwhile is not there, however much of it is still known.
  if (run.data && asProblem(run.error).status !== 404) return <Shown key={id} run={run.data} />;
  return (
    <Page title="Run">
      <Asked query={{ ...run, data: undefined }} title="This run cannot be shown">
        {() => null}
      </Asked>
      <Link to="/runs" className={pressed("plain", "mt-4")}>
        All runs
      </Link>
    </Page>
  );
}

function Shown({ run }: { run: Run }) {
  const { view = "answer" } = useSearch({ from: "/inside/runs/$id" });
  const navigate = useNavigate({ from: "/runs/$id" });
  const queryClient = useQueryClient();
  const followed = useRunEvents(run.id);
  // Whichever is newer: the stream tells sooner, the run tells of what ended long ago.
  const status = isOver(run.status) || followed.run.seq === 0 ? run.status : followed.run.status;
  const over = isOver(status);
  const code = (run.error ?? followed.run.error)?.code;
  const { is, word } = ofRun(status, code);
  useSpoken(followed.run.answer, over ? `${word}.` : null);
  useEffect(() => {
    if (over) void queryClient.invalidateQueries({ queryKey: ["run", run.id] });
  }, [over, queryClient, run.id]);
  const resend = useSend();
  const fillIn = useFillIn();
  const onResend = () =>
    run.given && run.given.files.length > 0
      ? fillIn(run)
      : resend.mutate(sentAs(run), {
          onSuccess: (made) => void navigate({ to: "/runs/$id", params: { id: made.id }, search: {} }),
        });
  // What it was asked with is told to whose it is.
  const again = run.given && (
    <Button icon="again" busy={resend.isPending} onClick={onResend}>
      Resend
    </Button>
  );
  const prompt = run.prompt ?? "";
  const failure = run.error ?? followed.run.error;

  return (
    <Page
      title="Run"
      windowTitle={`${word}: ${firstLine(prompt, 40)}`}
      beside={
        <div className="flex flex-wrap items-center gap-2">
          <Status is={is} className="mr-2">
            {word}
          </Status>
          {over ? again : <RunStop id={run.id} />}
          {over && <DeleteRun id={run.id} />}
        </div>
      }
    >
      <div className="grid gap-x-10 gap-y-8 lg:grid-cols-[minmax(0,1fr)_20rem] xl:grid-cols-[minmax(0,1fr)_24rem]">
        <div className="min-w-0 space-y-6">
          {resend.isError && (
            <ProblemNote problem={resend.error} title="It was not sent">
              <Reconnect code={asProblem(resend.error).code} provider={run.provider} />
            </ProblemNote>
          )}
          <div className="flex items-start gap-2 rounded-md border bg-sheet py-2 pr-2 pl-4">
            <section
              aria-label="The prompt"
              tabIndex={0}
              className="max-h-72 min-w-0 grow overflow-y-auto py-2 text-md break-words whitespace-pre-wrap"
            >
              {prompt}
            </section>
            <CopyIcon text={prompt} what="the prompt" />
          </div>
          {followed.lost && (
            <p role="status" className="text-wary">
              What comes next is shown as soon as the server answers again.
            </p>
          )}
          {followed.problem && <ProblemNote problem={followed.problem} title="Its events cannot be shown" />}
          <Tabs
            label="What to see of the run"
            value={view}
            onValue={(view) => void navigate({ search: { view }, replace: true, resetScroll: false })}
            tabs={[
              {
                value: "answer",
                label: "Answer",
                content: (
                  <div className="space-y-4" aria-busy={!over}>
                    <h2 className="unseen">The answer</h2>
                    <Transcript run={followed.run} over={over} />
                    {followed.run.parts.length === 0 && !over && (
                      <Loading>{status === "queued" ? "It waits for its turn" : "Its tool is at work"}</Loading>
                    )}
                    {failure && (
                      <FailureNote failure={failure}>
                        <Reconnect code={failure.code} provider={run.provider} />
                        {again}
                      </FailureNote>
                    )}
                    {status === "cancelled" && <p className="text-ink-soft">It was stopped here.</p>}
                  </div>
                ),
              },
              { value: "events", label: "Events", content: <Timeline events={followed.events} /> },
              { value: "console", label: "Console", content: <Console run={run.id} sandbox={followed.run.sandbox} /> },
            ]}
          />
        </div>
        <div className="min-w-0 space-y-8">
          <Section title="Facts">
            <Facts run={run} />
          </Section>
          <Section title="Files it made">
            <FilesOut run={run.id} over={over} />
          </Section>
          <Section title="What it reached">
            <NetworkSeen run={run.id} over={over} />
          </Section>
          <Section title="Download">
            <Downloads id={run.id} events={followed.events} whole={isOver(followed.run.status)} />
          </Section>
        </div>
      </div>
    </Page>
  );
}
