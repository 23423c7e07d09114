import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { RunStatus } from "./api/client";
import { part } from "./api/part";
import { Problem } from "./api/problem";
import { queries } from "./api/queries";
import { Alone } from "./components/alone";
import { Shell } from "./components/shell";
import { STATUSES } from "./lib/standing";
import { Fault } from "./routes/fault";
import { NotFound } from "./routes/not-found";

/** A place of this app to go on to, and of no other: `//host` and `/\host` are other servers'. */
const ownPath = (value: unknown) => (typeof value === "string" && /^\/(?![/\\])/.test(value) ? value : undefined);

const text = (value: unknown) => (typeof value === "string" ? value : undefined);

const RUN_VIEWS = ["answer", "events", "console"] as const;
const ADMIN_VIEWS = ["people", "runs", "sandboxes", "audit", "server"] as const;
type AdminView = (typeof ADMIN_VIEWS)[number];
type RunView = (typeof RUN_VIEWS)[number];

const later: (() => Promise<unknown>)[] = [() => import("./components/answer/markdown")];

/** A page that is fetched when somebody goes to it. */
function page<T extends Record<string, unknown>>(load: () => Promise<T>, name: keyof T & string) {
  later.push(load);
  return lazyRouteComponent(() => part(load) as Promise<Record<string, () => ReactNode>>, name);
}

/** Fetches what may be gone to next: then it is there where the server is not. */
export const fetchRest = () => Promise.allSettled(later.map((load) => load()));

const root = createRootRouteWithContext<{ queryClient: QueryClient }>()({ component: Outlet });

const signIn = createRoute({
  getParentRoute: () => root,
  path: "/signin",
  validateSearch: (search): { next?: string } => ({ next: ownPath(search.next) }),
  component: page(() => import("./routes/signin"), "SignIn"),
});

const setup = createRoute({
  getParentRoute: () => root,
  path: "/setup",
  component: page(() => import("./routes/setup"), "Setup"),
});

/** Lets in who is signed in, and has everybody else sign in first. */
async function signedIn({ context, location }: { context: { queryClient: QueryClient }; location: { href: string } }) {
  try {
    await context.queryClient.ensureQueryData(queries.me());
  } catch (thrown) {
    if (!(thrown instanceof Problem) || thrown.status !== 401) throw thrown;
    throw redirect({ to: "/signin", search: location.href === "/" ? {} : { next: location.href } });
  }
}

/** Every page below takes somebody who is signed in. */
const inside = createRoute({ getParentRoute: () => root, id: "inside", beforeLoad: signedIn, component: Shell });

/** So do these, which have the window for themselves. */
const alone = createRoute({ getParentRoute: () => root, id: "alone", beforeLoad: signedIn, component: Alone });

const dashboard = createRoute({
  getParentRoute: () => inside,
  path: "/",
  component: page(() => import("./routes/dashboard"), "Dashboard"),
});

const connect = createRoute({
  getParentRoute: () => inside,
  path: "/connect/$provider",
  component: page(() => import("./routes/connect"), "Connect"),
});

const login = createRoute({
  getParentRoute: () => alone,
  path: "/logins/$id",
  component: page(() => import("./routes/login"), "Login"),
});

const playground = createRoute({
  getParentRoute: () => inside,
  path: "/playground",
  validateSearch: (search): { provider?: string; run?: string } => ({
    provider: text(search.provider),
    run: text(search.run),
  }),
  component: page(() => import("./routes/playground"), "Playground"),
});

const runs = createRoute({
  getParentRoute: () => inside,
  path: "/runs",
  validateSearch: (search): { status?: RunStatus; provider?: string } => ({
    status: STATUSES.find((status) => status === search.status),
    provider: text(search.provider),
  }),
  component: page(() => import("./routes/runs"), "Runs"),
});

const run = createRoute({
  getParentRoute: () => inside,
  path: "/runs/$id",
  validateSearch: (search): { view?: RunView } => ({ view: RUN_VIEWS.find((view) => view === search.view) }),
  component: page(() => import("./routes/run"), "RunPage"),
});

const settings = createRoute({
  getParentRoute: () => inside,
  path: "/settings",
  component: page(() => import("./routes/settings"), "Settings"),
});

const admin = createRoute({
  getParentRoute: () => inside,
  path: "/admin",
  validateSearch: (search): { view?: AdminView } => ({ view: ADMIN_VIEWS.find((view) => view === search.view) }),
  component: page(() => import("./routes/admin"), "Admin"),
});

const pages = [dashboard, connect, playground, runs, run, settings, admin];

/** The router, with everything that has an address. */
export const makeRouter = (queryClient: QueryClient) =>
  createRouter({
    routeTree: root.addChildren([signIn, setup, inside.addChildren(pages), alone.addChildren([login])]),
    context: { queryClient },
    defaultPreload: "intent",
    defaultErrorComponent: Fault,
    defaultNotFoundComponent: NotFound,
    scrollRestoration: true,
  });

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
