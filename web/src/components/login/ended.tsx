import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Login, Provider } from "../../api/client";
import { loginLog, queries } from "../../api/queries";
import { isOver, type Shown } from "../../lib/login";
import { Asked } from "../asked";
import { Button, pressed } from "../button";
import { Connected } from "../connect/connected";
import { FailureNote } from "../failure-note";
import { Fold, Verbatim } from "../fold";
import { OutLink } from "../out-link";
import { Page } from "../page";
import { ProblemNote } from "../problem-note";
import { Section } from "../section";
import { Time } from "../time";
import { Cancel } from "./cancel";
import { Stages } from "./preparing";
import { useOpenLogin } from "./use-open";

type Props = { login: Login; provider: Provider; now: Shown; own: boolean };

/** What came of a login; and of another person's, how it stands. */
export function Ended({ login, provider, now, own }: Props) {
  const title = `Sign in to ${provider.label}`;
  const open = now.status !== "connected" && isOver(now.status);
  return (
    <Page title={title} windowTitle={`${word(now)}: ${provider.label}`} width="text">
      <div className="space-y-8">
        <Outcome login={login} provider={provider} now={now} own={own} />
        {open && own && <Again provider={provider} />}
        {now.status === "failed" && own && (
          <>
            <Section title="How far it was">
              <Stages stages={now.stages} />
            </Section>
            <Log login={login.id} />
          </>
        )}
      </div>
    </Page>
  );
}

function word({ status }: Shown): string {
  switch (status) {
    case "connected":
      return "Connected";
    case "failed":
      return "Failed";
    case "expired":
      return "Too late";
    case "cancelled":
      return "Cancelled";
    case "requested":
    case "preparing":
    case "ready":
    case "verifying":
      return "Open";
  }
}

function Outcome({ login, provider, now, own }: Props): ReactNode {
  const connections = useQuery(queries.connections()).data;
  if (!own) {
    return (
      <div className="space-y-4">
        <p>
          This is somebody else's login. It is <strong className="font-bold">{word(now).toLowerCase()}</strong>; nobody
          but its owner sees more of it.
        </p>
        {!isOver(now.status) && <Cancel login={login} />}
      </div>
    );
  }
  switch (now.status) {
    case "connected": {
      const connection = now.connection ?? connections?.find(({ provider }) => provider === login.provider);
      if (connection) return <Connected provider={provider} connection={connection} />;
      return <p>It was connected, and is disconnected since.</p>;
    }
    case "failed":
      return now.error ? <FailureNote failure={now.error} /> : <p>It failed.</p>;
    case "expired":
      return (
        <div className="space-y-4">
          <p>
            {now.found
              ? "You had signed in, but what you signed in with was not connected when its time was over"
              : "Nobody had signed in when its time was over"}
            {login.completed_at && (
              <>
                , <Time at={login.completed_at} />
              </>
            )}
            . Its desktop is destroyed, and nothing was kept. A desktop is open for some minutes, and can be extended to
            an hour.
          </p>
          {now.found && <LeftBehind provider={provider} />}
        </div>
      );
    case "cancelled":
      return (
        <div className="space-y-4">
          <p>
            It was cancelled
            {login.completed_at && (
              <>
                {" "}
                <Time at={login.completed_at} />
              </>
            )}
            . Its desktop is destroyed, and nothing was kept.
          </p>
          {now.found && <LeftBehind provider={provider} />}
        </div>
      );
    case "requested":
    case "preparing":
    case "ready":
    case "verifying":
      return null;
  }
}

/** What was forgotten here is not ended there. */
function LeftBehind({ provider }: { provider: Provider }) {
  return (
    <p>
      What you had signed in with may still be listed at {provider.label}, where you can end it:{" "}
      <OutLink href={provider.revoke.login} />.
    </p>
  );
}

/** A new one, and the other ways. */
function Again({ provider }: { provider: Provider }) {
  const login = useOpenLogin(provider.provider);
  return (
    <div className="space-y-4">
      {login.isError && <ProblemNote problem={login.error} title="No desktop was opened" />}
      <div className="flex flex-wrap gap-2">
        <Button kind="main" icon="desktop" busy={login.isPending} onClick={() => login.mutate()}>
          Open a new desktop
        </Button>
        <Link to="/connect/$provider" params={{ provider: provider.provider }} className={pressed("plain")}>
          Connect in another way
        </Link>
      </div>
    </div>
  );
}

/** What its desktop printed: for whoever looks for why it did not work. */
function Log({ login }: { login: string }) {
  return (
    <Fold summary={<span className="font-medium">What its desktop printed</span>}>
      <Printed login={login} />
    </Fold>
  );
}

function Printed({ login }: { login: string }) {
  const log = useQuery(loginLog(login));
  return (
    <Asked query={log} title="It cannot be shown">
      {(text) => (text ? <Verbatim label="What its desktop printed">{text}</Verbatim> : <p>It printed nothing.</p>)}
    </Asked>
  );
}
