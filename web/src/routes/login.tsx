import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { type ReactNode, useEffect } from "react";
import type { Login as LoginOf, Provider } from "../api/client";
import { useLoginEvents } from "../api/follow";
import { asProblem } from "../api/problem";
import { queries } from "../api/queries";
import { Asked } from "../components/asked";
import { pressed } from "../components/button";
import { Ended } from "../components/login/ended";
import { Preparing } from "../components/login/preparing";
import { SignIn } from "../components/login/sign-in";
import { LostBanner } from "../components/lost-banner";
import { Mark } from "../components/mark";
import { Page } from "../components/page";
import { announce } from "../lib/announce";
import { hasDesktop, isOver, type Shown, shown } from "../lib/login";

/** A login: its desktop, what leads to it, and what came of it. */
export function Login() {
  const { id } = useParams({ from: "/alone/logins/$id" });
  const login = useQuery(queries.login(id));
  const providers = useQuery(queries.providers());
  const provider = providers.data?.find(({ provider }) => provider === login.data?.provider);
  if (login.data && provider) return <One key={id} login={login.data} provider={provider} />;
  const unknown = login.error !== null && asProblem(login.error).status === 404;
  return (
    <Around>
      <Page title={unknown ? "There is no such login" : "Sign in on a desktop"} width="text">
        {unknown ? (
          <p className="text-ink-soft">
            A login stands here while you sign in at a provider, on a desktop of your own. This one was forgotten, is
            another person's, or never was.
          </p>
        ) : (
          <Asked query={login} title="This login cannot be shown">
            {() => (
              <Asked query={providers} title="The providers cannot be shown">
                {() => null}
              </Asked>
            )}
          </Asked>
        )}
        <Link to="/" className={pressed("plain", "mt-4")}>
          To the dashboard
        </Link>
      </Page>
    </Around>
  );
}

/** What is around a login that shows no desktop. */
function Around({ children }: { children: ReactNode }) {
  return (
    <>
      <LostBanner />
      <header className="flex h-12 shrink-0 items-center border-b px-4 sm:px-6 md:px-8">
        <Link to="/" aria-label="Polydev, dashboard">
          <Mark />
        </Link>
      </header>
      {children}
    </>
  );
}

/** What is said of each change to who does not see it. */
function spoken({ status, warned, question, notProven }: Shown): string {
  switch (status) {
    case "requested":
    case "preparing":
      return "The desktop is being made";
    case "ready":
      if (warned) return "This desktop closes in less than a minute: extend it if you need longer";
      return notProven ? `It is no login yet: ${notProven.message}` : "The desktop is ready";
    case "verifying":
      return question ? `You have signed in as ${question.account}: is that right?` : "You have signed in: it is tried";
    case "connected":
      return "Successfully connected";
    case "failed":
      return "Signing in has failed";
    case "expired":
      return "The time to sign in is over";
    case "cancelled":
      return "Signing in was cancelled";
  }
}

function One({ login, provider }: { login: LoginOf; provider: Provider }) {
  const me = useQuery(queries.me()).data;
  const own = me === undefined || me.id === login.user_id;
  const followed = useLoginEvents(own ? login.id : undefined);
  const now = shown(login, followed.state);
  const says = spoken(now);
  useEffect(() => announce(says), [says]);
  // What the desktop needs is on its way while it is made.
  useEffect(() => {
    if (own && !isOver(login.status)) import("../components/desktop/desktop").catch(() => {});
  }, [own, login.status]);
  if (own && hasDesktop(now.status)) return <SignIn login={login} provider={provider} now={now} />;
  return (
    <Around>
      {isOver(now.status) || !own ? (
        <Ended login={login} provider={provider} now={now} own={own} />
      ) : (
        <Preparing login={login} provider={provider} now={now} lost={followed.lost} problem={followed.problem} />
      )}
    </Around>
  );
}
