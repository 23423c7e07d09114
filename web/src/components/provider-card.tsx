import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useEffect, useId, useState } from "react";
import { api, type Connection, type Login, type Provider, take } from "../api/client";
import { queries } from "../api/queries";
import { announce } from "../lib/announce";
import { openWith } from "../lib/login";
import { methodWord } from "../lib/methods";
import { isGood, ofConnection } from "../lib/standing";
import { Button, pressed } from "./button";
import { Disconnect } from "./disconnect";
import { OutLink } from "./out-link";
import { ProblemNote } from "./problem-note";
import { RequestId } from "./request-id";
import { Said } from "./said";
import { Status } from "./status";
import { Time } from "./time";

/** A provider, and how one's connection to it stands. */
export function ProviderCard({ provider, connection }: { provider: Provider; connection: Connection | undefined }) {
  const id = useId();
  const { is, word } = ofConnection(connection);
  const open = openWith(useQuery(queries.logins()).data, provider.provider);
  return (
    <article aria-labelledby={id} className="flex flex-col rounded-md border bg-sheet">
      <header className="flex flex-wrap items-center justify-between gap-x-4 gap-y-1 border-b px-4 py-3">
        <h3 id={id} className="text-md">
          {provider.label}
        </h3>
        <Status is={is}>{word}</Status>
      </header>
      <div className="grow space-y-4 px-4 py-4">
        {connection ? <Facts connection={connection} /> : <NotConnected provider={provider} />}
        <p className="text-xs text-ink-soft">
          {provider.policy.text} <OutLink href={provider.policy.url} />
        </p>
      </div>
      <footer className="px-4 pb-4">
        {open && <GoOn login={open} />}
        {connection ? (
          <Connected provider={provider} connection={connection} />
        ) : (
          <Ways provider={provider} signingIn={open !== undefined} />
        )}
      </footer>
    </article>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt className="text-ink-faint">{name}</dt>
      <dd className="min-w-0 break-words">{children}</dd>
    </>
  );
}

function Facts({ connection }: { connection: Connection }) {
  const { account, plan, method, connected_at, expires_at, error } = connection;
  return (
    <>
      <dl className="grid grid-cols-[5rem_minmax(0,1fr)] gap-y-1">
        <Fact name="Account">
          {account ?? <span className="text-ink-soft">The provider does not tell</span>}
          {plan && <span className="text-ink-soft"> · {plan}</span>}
        </Fact>
        <Fact name="By">{methodWord(method)}</Fact>
        <Fact name="Since">
          <Time at={connected_at} />
        </Fact>
        <Fact name="Until">
          {expires_at ? <Time at={expires_at} /> : <span className="text-ink-soft">No end is set</span>}
        </Fact>
      </dl>
      {error && (
        <div className="border-l-2 border-bad pl-3">
          <Said message={error.message} hint={error.hint} className="font-medium" />
          {error.request_id && <RequestId>{error.request_id}</RequestId>}
        </div>
      )}
    </>
  );
}

function NotConnected({ provider }: { provider: Provider }) {
  return (
    <p>
      Connect your own account, and {provider.label} answers your prompts here, with {provider.default_model} unless you
      ask for another model.
    </p>
  );
}

/** The login that is under way. */
function GoOn({ login }: { login: Login }) {
  return (
    <div className="mb-3 space-y-2 border-l-2 border-accent pl-3">
      <p>
        You are signing in on a desktop, which closes <Time at={login.expires_at} />.
      </p>
      <Link to="/logins/$id" params={{ id: login.id }} className={pressed("main")}>
        Go on signing in
      </Link>
    </div>
  );
}

/** The ways to connect, the best first. */
function Ways({ provider: { provider, methods, label }, signingIn }: { provider: Provider; signingIn: boolean }) {
  return (
    <div className="flex flex-wrap gap-2">
      <Link
        to="/connect/$provider"
        params={{ provider }}
        className={pressed(signingIn ? "plain" : "main")}
        aria-label={`Connect ${label}`}
      >
        Connect
      </Link>
      {methods.includes("api_key") && (
        <Link
          to="/connect/$provider"
          params={{ provider }}
          hash="api_key"
          className={pressed("plain")}
          aria-label={`Use an API key: ${label}`}
        >
          Use an API key
        </Link>
      )}
      {methods.includes("import") && (
        <Link
          to="/connect/$provider"
          params={{ provider }}
          hash="import"
          className={pressed("plain")}
          aria-label={`Import: ${label}`}
        >
          Import
        </Link>
      )}
    </div>
  );
}

/** How long a check that went well is told of, ms. */
const CHECKED = 5000;

function Connected({ provider, connection }: { provider: Provider; connection: Connection }) {
  const queryClient = useQueryClient();
  const [leaving, setLeaving] = useState(false);
  const over = !isGood(connection.status);
  const check = useMutation({
    mutationFn: () =>
      take(api.POST("/api/v1/connections/{provider}/verify", { params: { path: { provider: connection.provider } } })),
    onSuccess: ({ status }) => {
      announce(isGood(status) ? `${provider.label} takes the connection` : `${provider.label} does not take it`);
      return queryClient.invalidateQueries({ queryKey: queries.connections().queryKey });
    },
  });
  const { isSuccess, reset } = check;
  useEffect(() => {
    if (!isSuccess) return;
    const timer = setTimeout(reset, CHECKED);
    return () => clearTimeout(timer);
  }, [isSuccess, reset]);
  const works = !over && isSuccess && isGood(check.data.status);
  const named = (what: string) => `${what}: ${provider.label}`;
  return (
    <>
      {check.isError && <ProblemNote problem={check.error} title="It could not be checked" className="mb-3" />}
      <div className="flex flex-wrap gap-2">
        {over ? (
          <Link
            to="/connect/$provider"
            params={{ provider: provider.provider }}
            className={pressed("main")}
            aria-label={named("Reconnect")}
          >
            Reconnect
          </Link>
        ) : (
          <Link
            to="/playground"
            search={{ provider: provider.provider }}
            className={pressed("plain")}
            aria-label={named("Ask it something")}
          >
            Ask it something
          </Link>
        )}
        <Button busy={check.isPending} onClick={() => check.mutate()} aria-label={works ? undefined : named("Check")}>
          {works ? "Checked: it works" : "Check"}
        </Button>
        {!over && (
          <Link
            to="/connect/$provider"
            params={{ provider: provider.provider }}
            className={pressed("plain")}
            aria-label={named("Replace")}
          >
            Replace
          </Link>
        )}
        <Button
          kind="quiet"
          className="text-bad hover:bg-bad-wash"
          aria-label={named("Disconnect")}
          onClick={() => setLeaving(true)}
        >
          Disconnect
        </Button>
      </div>
      <Disconnect provider={provider} connection={connection} open={leaving} onClose={() => setLeaving(false)} />
    </>
  );
}
