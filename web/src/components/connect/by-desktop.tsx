import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Provider } from "../../api/client";
import { queries } from "../../api/queries";
import { openWith } from "../../lib/login";
import { Button, pressed } from "../button";
import { OWN_BROWSER, useOpenLogin } from "../login/use-open";
import { ProblemNote } from "../problem-note";
import { Status } from "../status";
import { Steps, Way } from "./way";

/** Signing in with the provider's own page, in a desktop of one's own on the server. */
export function ByDesktop({ provider }: { provider: Provider }) {
  const offered = provider.methods.includes("login");
  const open = openWith(useQuery(queries.logins()).data, provider.provider);
  return (
    <Way
      anchor="login"
      icon="desktop"
      title="Sign in on a desktop"
      when={`Takes nothing but your ${provider.label} account: you sign in with its own tool, on a desktop of your own here.`}
    >
      {offered || open ? (
        <Offered provider={provider} open={open?.id} />
      ) : (
        <>
          <Status is="idle">Not on this server</Status>
          <p className="text-ink-soft">The other ways end up at the same connection.</p>
        </>
      )}
    </Way>
  );
}

/** The same without the desktop's browser. */
function InOwnBrowser({ provider }: { provider: Provider }) {
  const login = useOpenLogin(provider.provider, OWN_BROWSER);
  return (
    <>
      {login.isError && <ProblemNote problem={login.error} title="It cannot be begun" />}
      <p className="text-ink-soft">
        A passkey, a security key or a prompt on your phone does not reach the browser there, and {provider.label} may
        refuse it. Then use yours.
      </p>
      <Button icon="outside" busy={login.isPending} className="w-full" onClick={() => login.mutate()}>
        Sign in with my own browser
      </Button>
    </>
  );
}

function Offered({ provider, open }: { provider: Provider; open: string | undefined }) {
  const login = useOpenLogin(provider.provider);
  return (
    <>
      <Steps>
        <li>A desktop opens in this page, with a terminal and a browser in it.</li>
        <li>You type one command, and sign in as you always do.</li>
        <li>It is noticed, tried, and kept sealed; the desktop is destroyed.</li>
      </Steps>
      {login.isError && <ProblemNote problem={login.error} title="No desktop was opened" />}
      {open ? (
        <>
          <p>You have one open already.</p>
          <Link to="/logins/$id" params={{ id: open }} className={pressed("main", "w-full")}>
            Go on signing in
          </Link>
        </>
      ) : (
        <Button kind="main" icon="desktop" busy={login.isPending} className="w-full" onClick={() => login.mutate()}>
          Open a desktop
        </Button>
      )}
      {provider.link && <InOwnBrowser provider={provider} />}
    </>
  );
}
