import type {
  Connection,
  Failure,
  Login,
  LoginEvent,
  LoginLink,
  LoginQuestion,
  LoginStage,
  LoginStatus,
} from "../api/client";

/** A login as its events tell of it so far. */
export type Folded = {
  /** The number of the last event. */
  seq: number;
  status: LoginStatus;
  stages: LoginStage[];
  /** The newest deadline that was told, RFC 3339. */
  expiresAt: string | null;
  /** That deadline is near. */
  warned: boolean;
  /** What the tool itself said of whether somebody is signed in, when it was asked last. */
  checked: { command: string; exit_code?: number | null; said: string } | null;
  /** What its person is asked: whether another account may take the place of the one that is connected. */
  question: LoginQuestion | null;
  /** By what its person may sign in with a browser of their own; `asked`: the tool is about to show it. */
  link: LoginLink | "asked" | null;
  /** Why nobody has signed in by the last one. */
  linkFailed: Failure | null;
  /** Why what was found last was no login. */
  notProven: Failure | null;
  /** Somebody has signed in, as far as is known. */
  found: boolean;
  connection: Connection | null;
  error: Failure | null;
};

const NAMES: LoginStage["name"][] = ["allocating", "starting", "desktop", "ready"];

const pending = (name: LoginStage["name"]): LoginStage => ({ name, state: "pending" });

export const NOTHING: Folded = {
  seq: 0,
  status: "requested",
  stages: NAMES.map(pending),
  expiresAt: null,
  warned: false,
  checked: null,
  question: null,
  link: null,
  linkFailed: null,
  notProven: null,
  found: false,
  connection: null,
  error: null,
};

/** Whether nothing more will happen. */
export function isOver(status: LoginStatus): boolean {
  switch (status) {
    case "connected":
    case "failed":
    case "expired":
    case "cancelled":
      return true;
    case "requested":
    case "preparing":
    case "ready":
    case "verifying":
      return false;
  }
}

/** Whether it is only not known whether there is a login: who was asked has not said, and is asked again. A no has a
 * code of its own. */
export const isUnsaid = ({ code }: Failure): boolean => code !== "not_connected";

/** Whether somebody may be at its desktop. */
export const hasDesktop = (status: LoginStatus): boolean => status === "ready" || status === "verifying";

/** The login after these events as well. Those that are known already, as a resumed stream may send them, are left out. */
export function fold(before: Folded, events: LoginEvent[]): Folded {
  let login = before;
  for (const event of events) if (event.seq > login.seq) login = { ...apply(login, event), seq: event.seq };
  return login;
}

function apply(login: Folded, event: LoginEvent): Folded {
  switch (event.type) {
    case "login.stage":
      return { ...login, status: event.status, stages: staged(login.stages, event) };
    case "login.verifying":
      return { ...login, status: "verifying", checked: null, question: null, notProven: null, found: true };
    case "login.checked":
      return { ...login, checked: { command: event.command, exit_code: event.exit_code, said: event.said } };
    case "login.other_account":
      return { ...login, question: { account: event.account, before: event.before } };
    case "login.confirmed":
      return { ...login, question: null };
    case "login.not_proven":
      return { ...login, status: "ready", question: null, notProven: event.error, found: isUnsaid(event.error) };
    case "login.link_asked":
      return { ...login, link: "asked", linkFailed: null };
    case "login.link":
      return { ...login, link: { verification_uri: event.verification_uri, user_code: event.user_code } };
    case "login.link_over":
      return { ...login, link: null, linkFailed: event.error ?? null };
    case "login.warning":
      return { ...login, expiresAt: event.expires_at, warned: true };
    case "login.extended":
      return { ...login, expiresAt: event.expires_at, warned: false };
    case "login.connected":
      return { ...login, status: "connected", connection: event.connection };
    case "login.failed":
      return { ...login, status: "failed", error: event.error };
    case "login.expired":
      return { ...login, status: "expired" };
    case "login.cancelled":
      return { ...login, status: "cancelled" };
  }
}

/** The stages with this one. Where an earlier one begins anew, as after a server's end, what came after it is to come. */
function staged(stages: LoginStage[], { name, state, started_at, took_ms, waiting_for }: LoginStage): LoginStage[] {
  const at = NAMES.indexOf(name);
  return stages.map((stage, other) => {
    if (other === at) return { name, state, started_at, took_ms, waiting_for };
    return other > at && state === "active" ? pending(stage.name) : stage;
  });
}

/** A login as the page shows it: whichever is newer of what the server says of it and what its events tell. */
export type Shown = Omit<Folded, "seq" | "expiresAt"> & { expiresAt: string };

export function shown(login: Login, told: Folded): Shown {
  const row = isOver(login.status) || told.seq === 0;
  // It is only ever put off.
  const later = told.expiresAt !== null && Date.parse(told.expiresAt) > Date.parse(login.expires_at);
  return {
    status: row ? login.status : told.status,
    stages: row ? login.stages : told.stages,
    expiresAt: later && told.expiresAt ? told.expiresAt : login.expires_at,
    warned: told.warned && !(told.expiresAt !== null && Date.parse(login.expires_at) > Date.parse(told.expiresAt)),
    checked: told.checked,
    question: row ? (login.question ?? null) : told.question,
    link: row ? (login.link ?? null) : told.link,
    linkFailed: told.linkFailed,
    notProven: told.notProven,
    found: told.found,
    connection: told.connection,
    error: login.error ?? told.error,
  };
}

/** The login that is open with a provider, if one is. */
export const openWith = (logins: Login[] | undefined, provider: string): Login | undefined =>
  logins?.find((login) => login.provider === provider && !isOver(login.status));

/** What a stage is, for people. */
export function stageWords(name: LoginStage["name"]): string {
  switch (name) {
    case "allocating":
      return "A place for it";
    case "starting":
      return "Its sandbox";
    case "desktop":
      return "The desktop";
    case "ready":
      return "The terminal, to where it hears keys";
  }
}
