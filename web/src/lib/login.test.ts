import { describe, expect, it } from "vitest";
import type { Login, LoginEvent } from "../api/client";
import { fold, NOTHING, openWith, shown } from "./login";

const at = 1_795_000_000_000;
const stage = (seq: number, name: string, state: string, took_ms: number | null = null) =>
  ({
    seq,
    at,
    type: "login.stage",
    status: "preparing",
    name,
    state,
    started_at: null,
    took_ms,
    waiting_for: null,
  }) as LoginEvent;

const login: Login = {
  id: "lgn_a",
  user_id: "usr_a",
  provider: "claude",
  status: "preparing",
  stages: [],
  command: "claude auth login",
  started_at: "2026-11-23T10:00:00Z",
  expires_at: "2026-11-23T10:10:00Z",
  desktop_url: "",
  page_url: "",
  events_url: "",
};

describe("a login's events", () => {
  it("tell of a page for one's own browser until it is over", () => {
    const link = { verification_uri: "https://auth.openai.com/codex/device", user_code: "ABCD-EFGHI" };
    const asked = fold(NOTHING, [{ seq: 1, at, type: "login.link_asked" }]);
    expect(asked.link).toBe("asked");
    const there = fold(asked, [{ seq: 2, at, type: "login.link", ...link }]);
    expect(there.link).toEqual(link);
    const error = { code: "not_connected", message: "the code has expired" } as const;
    const over = fold(there, [{ seq: 3, at, type: "login.link_over", error }]);
    expect([over.link, over.linkFailed]).toEqual([null, error]);
    expect(fold(over, [{ seq: 4, at, type: "login.link_asked" }]).linkFailed).toBeNull();
    expect(shown({ ...login, link }, NOTHING).link).toEqual(link);
  });

  it("tell how far each stage is, once", () => {
    const events = [
      stage(1, "allocating", "active"),
      stage(2, "allocating", "done", 12),
      stage(3, "starting", "active"),
    ];
    const told = fold(fold(NOTHING, events), events);
    expect(told.seq).toBe(3);
    expect(told.stages.map(({ state, took_ms }) => [state, took_ms ?? null])).toEqual([
      ["done", 12],
      ["active", null],
      ["pending", null],
      ["pending", null],
    ]);
  });

  it("begin anew where it was put back", () => {
    const told = fold(NOTHING, [
      stage(1, "allocating", "done", 12),
      stage(2, "starting", "active"),
      stage(3, "allocating", "active"),
    ]);
    expect(told.stages.map(({ state }) => state)).toEqual(["active", "pending", "pending", "pending"]);
  });

  it("tell that what was found was no login, until it is looked at again", () => {
    const error = { code: "not_connected", message: "the login is another account's" } as const;
    const refused = fold(NOTHING, [
      { seq: 1, at, type: "login.verifying" },
      { seq: 2, at, type: "login.not_proven", error },
    ]);
    expect([refused.status, refused.notProven?.message, refused.found]).toEqual(["ready", error.message, false]);
    const unsaid = fold(NOTHING, [
      { seq: 1, at, type: "login.verifying" },
      {
        seq: 2,
        at,
        type: "login.not_proven",
        error: { code: "provider_unavailable", message: "Claude does not answer" },
      },
    ]);
    expect([unsaid.status, unsaid.found]).toEqual(["ready", true]);
    const again = fold(refused, [{ seq: 3, at, type: "login.verifying" }]);
    expect([again.status, again.notProven]).toEqual(["verifying", null]);
  });
});

it("asks about another account until that is answered, or somebody signs in anew", () => {
  const asked = fold(NOTHING, [
    { seq: 1, at, type: "login.verifying" },
    { seq: 2, at, type: "login.checked", command: "claude auth status", exit_code: 0, said: "signed in" },
    { seq: 3, at, type: "login.other_account", account: "eve@example.com", before: "ada@example.com" },
  ]);
  expect([asked.status, asked.checked?.said, asked.question?.account]).toEqual([
    "verifying",
    "signed in",
    "eve@example.com",
  ]);
  expect(fold(asked, [{ seq: 4, at, type: "login.confirmed", account: "eve@example.com" }]).question).toBeNull();
  expect(fold(asked, [{ seq: 4, at, type: "login.verifying" }]).question).toBeNull();
});

describe("what is shown", () => {
  it("is what the events tell, until the login is over", () => {
    const told = fold(NOTHING, [stage(1, "allocating", "active")]);
    expect(shown(login, told).stages[0]?.state).toBe("active");
    expect(shown({ ...login, status: "expired" }, told).status).toBe("expired");
  });

  it("has the latest deadline, and warns of no earlier one", () => {
    const told = fold(NOTHING, [{ seq: 1, at, type: "login.warning", expires_at: "2026-11-23T10:10:00Z" }]);
    expect(shown(login, told)).toMatchObject({ expiresAt: "2026-11-23T10:10:00Z", warned: true });
    const extended = { ...login, expires_at: "2026-11-23T10:15:00Z" };
    expect(shown(extended, told)).toMatchObject({ expiresAt: "2026-11-23T10:15:00Z", warned: false });
  });

  it("finds the login that is open with a provider", () => {
    const logins = [{ ...login, id: "lgn_b", status: "failed" as const }, login];
    expect(openWith(logins, "claude")?.id).toBe("lgn_a");
    expect(openWith(logins, "codex")).toBeUndefined();
  });
});
