import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useRouter } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import type { Connection, Provider } from "../api/client";
import { queries } from "../api/queries";
import { Asked } from "../components/asked";
import { pressed } from "../components/button";
import { ByDesktop } from "../components/connect/by-desktop";
import { ByImport } from "../components/connect/by-import";
import { ByApiKey, BySetupToken } from "../components/connect/by-secret";
import { Connected } from "../components/connect/connected";
import { Empty } from "../components/empty";
import { OutLink } from "../components/out-link";
import { Page } from "../components/page";
import { Status } from "../components/status";
import { ofConnection } from "../lib/standing";

/** The ways to connect a provider, side by side. */
export function Connect() {
  const { provider: name } = useParams({ from: "/inside/connect/$provider" });
  const providers = useQuery(queries.providers());
  const provider = providers.data?.find((provider) => provider.provider === name);
  return (
    <Page title={provider ? `Connect ${provider.label}` : "Connect an account"}>
      <Asked query={providers} title="The providers cannot be shown">
        {(all) => (provider ? <Ways key={name} provider={provider} /> : <Unknown name={name} all={all} />)}
      </Asked>
    </Page>
  );
}

function Ways({ provider }: { provider: Provider }) {
  const [done, setDone] = useState<Connection | null>(null);
  const router = useRouter();
  // Who goes here from here begins again.
  useEffect(() => router.subscribe("onBeforeNavigate", ({ pathChanged }) => pathChanged || setDone(null)), [router]);
  if (done) return <Connected provider={provider} connection={done} />;
  const { methods, policy, setup_token_command: command } = provider;
  const ways = [
    <ByDesktop key="login" provider={provider} />,
    methods.includes("api_key") && <ByApiKey key="api_key" provider={provider} onDone={setDone} />,
    methods.includes("setup_token") && command && (
      <BySetupToken key="setup_token" provider={provider} command={command} onDone={setDone} />
    ),
    methods.includes("import") && <ByImport key="import" provider={provider} onDone={setDone} />,
  ].filter((way) => way);
  return (
    <div className="space-y-6">
      <div className="max-w-prose space-y-2">
        <Before provider={provider} />
        <p>
          {policy.text} <OutLink href={policy.url} />
        </p>
      </div>
      <div className={`grid gap-4 ${ways.length === 3 ? "lg:grid-cols-3" : "lg:grid-cols-2 xl:grid-cols-4"}`}>
        {ways}
      </div>
    </div>
  );
}

/** What is connected already, and would be replaced. */
function Before({ provider }: { provider: Provider }) {
  const connection = useQuery(queries.connections()).data?.find(({ provider: name }) => name === provider.provider);
  if (!connection) return null;
  const { is, word } = ofConnection(connection);
  return (
    <p className="flex flex-wrap items-center gap-x-2">
      <Status is={is}>{word}</Status>
      <span>
        {connection.account && <>as {connection.account}. </>}What you connect now takes the place of what is there.
      </span>
    </p>
  );
}

function Unknown({ name, all }: { name: string; all: Provider[] }) {
  return (
    <Empty title="There is no such provider">
      <p>
        Nothing here is called <code className="break-all">{name}</code>. There are:
      </p>
      <ul className="mt-3 flex flex-wrap gap-2">
        {all.map(({ provider, label }) => (
          <li key={provider}>
            <Link to="/connect/$provider" params={{ provider }} className={pressed("plain")}>
              {label}
            </Link>
          </li>
        ))}
      </ul>
    </Empty>
  );
}
