import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useEffect } from "react";
import type { Login, Provider } from "../../api/client";
import { part } from "../../api/part";
import type { Shown } from "../../lib/login";
import { Loading } from "../asked";
import { pressed } from "../button";
import { CopyIcon } from "../copy";
import { Icon } from "../icon";
import { LostBanner } from "../lost-banner";
import { Cancel } from "./cancel";
import { Found } from "./found";
import { OwnBrowser } from "./own-browser";
import { TimeLeft } from "./time-left";

// noVNC is for this page alone.
const Desktop = lazy(async () => ({ default: (await part(() => import("../desktop/desktop"))).Desktop }));

type Props = { login: Login; provider: Provider; now: Shown };

/** The desktop, in all of the window, with what to do in it. */
export function SignIn({ login, provider, now }: Props) {
  const title = `Sign in to ${provider.label}`;
  useEffect(() => {
    document.title = `${title} · Polydev`;
  }, [title]);
  return (
    <div className="flex h-dvh flex-col">
      <LostBanner />
      <header className="flex items-center justify-between gap-x-3 border-b bg-sheet px-3 py-1.5">
        <div className="flex min-w-0 items-center gap-2">
          <Link to="/" aria-label="To the dashboard; the desktop stays open" className={pressed("quiet", "px-2")}>
            <Icon name="back" />
          </Link>
          <h1 className="truncate text-md">{title}</h1>
        </div>
        <div className="flex shrink-0 items-center gap-2">
          <TimeLeft login={login} until={now.expiresAt} verifying={now.status === "verifying"} />
          <Cancel login={login} asks />
        </div>
      </header>
      <Suspense
        fallback={
          <div className="p-6">
            <Loading>Loading the viewer</Loading>
          </div>
        }
      >
        <Desktop
          login={login.id}
          label={`The desktop to sign in to ${provider.label}`}
          about={(onType) => (
            <div className="flex min-w-0 flex-wrap items-center gap-x-1">
              {login.command && <Command command={login.command} onType={onType} />}
              <OwnBrowser login={login} provider={provider} now={now} />
            </div>
          )}
        >
          <Found login={login} provider={provider} now={now} />
        </Desktop>
      </Suspense>
    </div>
  );
}

/** What to type in the terminal. */
function Command({ command, onType }: { command: string; onType: (text: string) => void }) {
  return (
    <div className="flex min-w-0 items-center gap-1">
      <span className="shrink-0 text-ink-soft max-sm:unseen">Type</span>
      <code tabIndex={0} className="min-w-0 overflow-x-auto rounded-md bg-well px-2 py-1 whitespace-pre">
        {command}
      </code>
      <CopyIcon text={command} what="the command" />
      <button type="button" className={pressed("quiet")} onClick={() => onType(`${command}\n`)}>
        Type it for me
      </button>
    </div>
  );
}
