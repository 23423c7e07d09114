import type { Login, LoginStage, Provider } from "../../api/client";
import type { Problem } from "../../api/problem";
import { type Shown, stageWords } from "../../lib/login";
import { useNow } from "../../lib/now";
import { duration } from "../../lib/time";
import { CommandLine } from "../command-line";
import { Icon } from "../icon";
import { Page } from "../page";
import { ProblemNote } from "../problem-note";
import { Words } from "../words";
import { Cancel } from "./cancel";

type Props = { login: Login; provider: Provider; now: Shown; lost: boolean; problem: Problem | null };

/** A desktop that is being made: each stage, and how long it took or takes. */
export function Preparing({ login, provider, now, lost, problem }: Props) {
  return (
    <Page
      title={`Sign in to ${provider.label}`}
      windowTitle={`Preparing: ${provider.label}`}
      width="text"
      beside={<Cancel login={login} />}
    >
      <div className="space-y-8">
        <p>A desktop of your own is being made. It is here in a few seconds.</p>
        <Stages stages={now.stages} />
        {lost && (
          <p role="status" className="text-wary">
            What comes next is shown as soon as the server answers again.
          </p>
        )}
        {problem && <ProblemNote problem={problem} title="How far it is cannot be shown" />}
        {login.command && (
          <div className="space-y-2">
            <p>In its terminal you will type this, and sign in as you always do:</p>
            <CommandLine>{login.command}</CommandLine>
          </div>
        )}
      </div>
    </Page>
  );
}

const LOOKS = {
  pending: { icon: "open", colour: "text-ink-faint", words: "to come" },
  active: { icon: "busy", colour: "text-accent", words: "under way" },
  done: { icon: "good", colour: "text-good", words: "done" },
  failed: { icon: "bad", colour: "text-bad", words: "failed" },
} as const;

/** The stages of a login, with their real times. */
export function Stages({ stages }: { stages: LoginStage[] }) {
  return (
    <ol aria-label="How far it is" className="border-t">
      {stages.map((stage) => (
        <Stage key={stage.name} stage={stage} />
      ))}
    </ol>
  );
}

function Stage({ stage: { name, state, started_at, took_ms, waiting_for } }: { stage: LoginStage }) {
  const { icon, colour, words } = LOOKS[state];
  const active = state === "active";
  const now = useNow(active);
  const took = took_ms ?? (active && started_at ? Math.max(0, now - Date.parse(started_at)) : null);
  return (
    <li className="grid grid-cols-[1rem_minmax(0,1fr)_auto] items-center gap-x-3 border-b py-2">
      <Icon name={icon} className={`${colour} ${active ? "animate-spin" : ""}`} />
      <span className={state === "pending" ? "text-ink-soft" : ""}>
        {stageWords(name)}
        <span className="unseen">: {words}</span>
        {active && waiting_for && (
          <span className="block break-words text-ink-soft">
            Waits for <Words>{waiting_for}</Words>
          </span>
        )}
      </span>
      {took !== null && (
        <span className="figures text-ink-soft">
          {active && took < 60_000 ? `${Math.floor(took / 1000)} s` : took < 1000 ? `${took} ms` : duration(took)}
        </span>
      )}
    </li>
  );
}
