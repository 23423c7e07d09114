import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useRef } from "react";
import type { Provider, Run } from "../api/client";
import { asProblem } from "../api/problem";
import { queries } from "../api/queries";
import { freshKey, type Sent, sameAsk, sentAs, useSend } from "../api/send";
import { Asked } from "../components/asked";
import { Empty } from "../components/empty";
import { Page } from "../components/page";
import { Answer } from "../components/playground/answer";
import { Composer } from "../components/playground/composer";
import { useFillIn } from "../components/playground/fill-in";
import { ProblemNote } from "../components/problem-note";
import { Reconnect } from "../components/reconnect";

/** A prompt on one side, its answer on the other. */
export function Playground() {
  const providers = useQuery(queries.providers());
  return (
    <Page title="Playground">
      <Asked query={providers} title="The providers cannot be shown">
        {(all) => <Bench all={all} />}
      </Asked>
    </Page>
  );
}

function Bench({ all }: { all: Provider[] }) {
  const { provider: name, run } = useSearch({ from: "/inside/playground" });
  const navigate = useNavigate({ from: "/playground" });
  const fillIn = useFillIn();
  const place = useRef<HTMLElement>(null);
  // Whoever is asked stays so, connected or not: a prompt does not go to another company by itself.
  const first = useRef<string>(undefined);
  first.current ??= all.find(({ connected }) => connected)?.provider;
  const provider = all.find(({ provider }) => provider === (name ?? first.current));
  const offered = all.filter((one) => one.connected || one === provider);
  // What was sent, for as long as the page is there: the server does not give back files.
  const sent = useRef(new Map<string, Sent>());
  const send = useSend((made, asked) => {
    sent.current.set(made.id, asked);
  });
  const start = (asked: Sent) =>
    send.mutate(asked, {
      // Not where the page has been left meanwhile.
      onSuccess: (made) => {
        void navigate({ search: { provider: made.provider, run: made.id }, resetScroll: false });
        place.current?.scrollIntoView({ block: "nearest" });
      },
    });
  // What was not answered may have been taken: the same once more is the same request.
  const unanswered = send.isError && asProblem(send.error).code === "unreachable" ? send.variables : undefined;
  const resend = (run: Run) => {
    const before = sent.current.get(run.id);
    if (before) start({ ...before, key: freshKey() });
    else if (run.given && run.given.files.length > 0) fillIn(run);
    else start(sentAs(run));
  };
  if (!run && !offered.length) return <NobodyToAsk all={all} />;
  return (
    <div className="grid gap-x-10 gap-y-8 lg:grid-cols-[minmax(0,24rem)_minmax(0,1fr)] xl:grid-cols-[minmax(0,34rem)_minmax(0,1fr)]">
      <div className="lg:sticky lg:top-8 lg:max-h-[calc(100dvh-4rem)] lg:self-start lg:overflow-y-auto lg:p-1 lg:-m-1">
        {provider ? (
          <Composer
            providers={offered}
            provider={provider}
            onProvider={(provider) => void navigate({ search: { provider, run }, replace: true, resetScroll: false })}
            busy={send.isPending}
            onSend={(asked) => start(unanswered && sameAsk(unanswered, asked) ? unanswered : asked)}
          />
        ) : (
          <NobodyToAsk all={all} />
        )}
      </div>
      <section ref={place} aria-labelledby="answer" className="min-w-0 scroll-mt-4 lg:border-l lg:pl-10">
        <h2 id="answer" className="unseen">
          The answer
        </h2>
        {send.isError && (
          <ProblemNote problem={send.error} title="It was not sent" className="mb-6">
            <Reconnect code={asProblem(send.error).code} provider={send.variables.provider} />
          </ProblemNote>
        )}
        {run ? (
          <Answer key={run} id={run} kept={sent.current.has(run)} onResend={resend} resending={send.isPending} />
        ) : (
          <Empty title="The answer comes here">
            <p>
              Word by word as the provider's tool says it, with what it does on the way. It goes on when you leave this
              page, and stands among your runs.
            </p>
          </Empty>
        )}
      </section>
    </div>
  );
}

function NobodyToAsk({ all }: { all: Provider[] }) {
  return (
    <Empty title="There is nobody to ask yet">
      <p>Connect an account of yours first:</p>
      <ul className="mt-2 space-y-1">
        {all.map(({ provider, label }) => (
          <li key={provider}>
            <Link
              to="/connect/$provider"
              params={{ provider }}
              className="font-medium text-accent underline underline-offset-4"
            >
              {label}
            </Link>
          </li>
        ))}
      </ul>
    </Empty>
  );
}
