import type { components } from "../api/schema";

export type Scope = components["schemas"]["Scope"];

/** What each scope lets a key do, in the order in which they are offered. */
export const SCOPES: Record<Scope, string> = {
  "runs:read": "See your runs, their answers and files",
  "runs:write": "Ask, stop and delete",
  connections: "See and change your accounts",
  logins: "Sign in to a provider",
  admin: "Manage this server and the people on it",
};

export const ALL_SCOPES = Object.keys(SCOPES) as Scope[];
