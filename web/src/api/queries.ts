import { infiniteQueryOptions, QueryClient, queryOptions } from "@tanstack/react-query";
import { api, type RunStatus, take } from "./client";
import { Problem } from "./problem";

/** Everything that is asked of the server, each under its key. */
export const queries = {
  me: () => queryOptions({ queryKey: ["me"], queryFn: ({ signal }) => take(api.GET("/api/v1/me", { signal })) }),

  providers: () =>
    queryOptions({
      queryKey: ["providers"],
      queryFn: async ({ signal }) => (await take(api.GET("/api/v1/providers", { signal }))).items,
    }),

  connections: () =>
    queryOptions({
      queryKey: ["connections"],
      queryFn: async ({ signal }) => (await take(api.GET("/api/v1/connections", { signal }))).items,
    }),

  /** The newest runs, a page after the other. */
  runs: (filter: { status?: RunStatus; provider?: string; user_id?: string; limit?: number } = {}) =>
    infiniteQueryOptions({
      queryKey: ["runs", filter],
      initialPageParam: null as string | null,
      queryFn: ({ signal, pageParam }) =>
        take(api.GET("/api/v1/runs", { signal, params: { query: { ...filter, cursor: pageParam ?? undefined } } })),
      getNextPageParam: (page) => page.next_cursor ?? null,
    }),

  /** The models of a connection, as its provider tells. */
  models: (provider: string) =>
    queryOptions({
      queryKey: ["models", provider],
      queryFn: async ({ signal }) =>
        (await take(api.GET("/api/v1/providers/{provider}/models", { signal, params: { path: { provider } } }))).items,
      retry: false,
      staleTime: 10 * 60_000,
    }),

  /** One's newest logins: an open one is among them. */
  logins: () =>
    queryOptions({
      queryKey: ["logins"],
      queryFn: async ({ signal }) => (await take(api.GET("/api/v1/logins", { signal }))).items,
    }),

  login: (id: string) =>
    queryOptions({
      queryKey: ["login", id],
      queryFn: ({ signal }) => take(api.GET("/api/v1/logins/{id}", { signal, params: { path: { id } } })),
    }),

  run: (id: string) =>
    queryOptions({
      queryKey: ["run", id],
      queryFn: ({ signal }) => take(api.GET("/api/v1/runs/{id}", { signal, params: { path: { id } } })),
    }),
};

type Paged<T> = { items: T[]; next_cursor?: string | null };

/** A list, a page after the other, under this key. */
const pages = <T>(queryKey: unknown[], page: (query: { cursor?: string }, signal: AbortSignal) => Promise<Paged<T>>) =>
  infiniteQueryOptions({
    queryKey,
    initialPageParam: null as string | null,
    queryFn: ({ signal, pageParam }) => page(pageParam === null ? {} : { cursor: pageParam }, signal),
    getNextPageParam: (page: Paged<T>) => page.next_cursor ?? null,
  });

/** What is about people: oneself, and for administrators everybody. */
export const people = {
  keys: () => pages(["keys"], (query, signal) => take(api.GET("/api/v1/keys", { signal, params: { query } }))),
  sessions: () =>
    pages(["sessions"], (query, signal) => take(api.GET("/api/v1/sessions", { signal, params: { query } }))),
  usage: (days: number) =>
    pages(["usage", days], (query, signal) =>
      take(api.GET("/api/v1/usage", { signal, params: { query: { ...query, days, limit: 200 } } })),
    ),
  users: () =>
    pages(["users"], (query, signal) =>
      take(api.GET("/api/v1/users", { signal, params: { query: { ...query, limit: 200 } } })),
    ),
  audit: () => pages(["audit"], (query, signal) => take(api.GET("/api/v1/audit", { signal, params: { query } }))),
  sandboxes: () =>
    pages(["sandboxes", "all"], (query, signal) =>
      take(api.GET("/api/v1/sandboxes", { signal, params: { query: { ...query, user_id: "all" } } })),
    ),
  status: () =>
    queryOptions({
      queryKey: ["status"],
      queryFn: ({ signal }) => take(api.GET("/api/v1/status", { signal })),
    }),
};

/** What belongs to one run. */
export const runQueries = {
  files: (id: string) =>
    infiniteQueryOptions({
      queryKey: ["run", id, "files"],
      initialPageParam: null as string | null,
      queryFn: ({ signal, pageParam }) =>
        take(
          api.GET("/api/v1/runs/{id}/files", {
            signal,
            params: { path: { id }, query: { limit: 200, cursor: pageParam ?? undefined } },
          }),
        ),
      getNextPageParam: (page) => page.next_cursor ?? null,
    }),

  network: (id: string) =>
    queryOptions({
      queryKey: ["run", id, "network"],
      queryFn: ({ signal }) => take(api.GET("/api/v1/runs/{id}/network", { signal, params: { path: { id } } })),
    }),

  console: (run: string, sandbox: string) =>
    queryOptions({
      queryKey: ["run", run, "console", sandbox],
      queryFn: ({ signal }) =>
        take(api.GET("/api/v1/sandboxes/{id}/console", { signal, params: { path: { id: sandbox } }, parseAs: "text" })),
    }),
};

/** What the last desktop of a login printed; null where it had none, or is forgotten. */
export const loginLog = (id: string) =>
  queryOptions({
    queryKey: ["login", id, "log"],
    queryFn: async ({ signal }) => {
      const query = { login_id: id, limit: 1 };
      const [sandbox] = (await take(api.GET("/api/v1/sandboxes", { signal, params: { query } }))).items;
      if (!sandbox) return null;
      const params = { path: { id: sandbox.id } };
      return take(api.GET("/api/v1/sandboxes/{id}/console", { signal, params, parseAs: "text" }));
    },
  });

/** Once more where that may help: not where the server has said no. */
const again = (failures: number, thrown: unknown) => {
  const problem = thrown instanceof Problem ? thrown : null;
  return failures < 2 && (problem === null || problem.status === 0 || problem.status >= 500);
};

/** Tells whoever is told of it that a request was not let in. */
export function makeQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        retry: again,
        retryDelay: (failures) => Math.min(1000 * 2 ** failures, 5000),
        // What changes is told by the server (live.ts).
        staleTime: 30_000,
        // The browser knows of its network, not of this server, which may be the same machine.
        networkMode: "always",
      },
      mutations: { networkMode: "always" },
    },
  });
}
