import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet } from "@tanstack/react-router";
import { useEffect } from "react";
import { followChanges } from "../api/live";
import { queries } from "../api/queries";
import { Announcer } from "./announcer";
import { Icon, type IconName } from "./icon";
import { LostBanner } from "./lost-banner";
import { Mark } from "./mark";
import { ProviderList } from "./provider-list";
import { SignOut } from "./sign-out";

type Place = { to: "/" | "/playground" | "/runs" | "/settings" | "/admin"; label: string; icon: IconName };

const PLACES: Place[] = [
  { to: "/", label: "Dashboard", icon: "home" },
  { to: "/playground", label: "Playground", icon: "ask" },
  { to: "/runs", label: "Runs", icon: "runs" },
  { to: "/settings", label: "Settings", icon: "settings" },
];
const ADMIN: Place = { to: "/admin", label: "Admin", icon: "admin" };

/** What is around every page of somebody who is signed in: a rail where there is room, a bar below where there is none. */
export function Shell() {
  const queryClient = useQueryClient();
  useEffect(() => followChanges(queryClient), [queryClient]);
  const me = useQuery(queries.me()).data;
  const places = me?.role === "admin" ? [...PLACES, ADMIN] : PLACES;
  return (
    <div className="md:grid md:min-h-dvh md:grid-cols-[15rem_minmax(0,1fr)]">
      <a
        href="#main"
        className="unseen z-30 rounded-md bg-accent px-3 py-2 text-on-accent focus:fixed focus:top-2 focus:left-2 focus:size-auto focus:[clip-path:none]"
      >
        Skip to the page
      </a>
      <header className="flex min-h-12 items-center justify-between gap-4 border-b px-4 md:hidden">
        <Link to="/" aria-label="Polydev, dashboard">
          <Mark />
        </Link>
        <SignOut />
      </header>
      <aside className="hidden border-r md:block">
        <div className="sticky top-0 flex h-dvh flex-col gap-6 overflow-y-auto px-3 py-5">
          <Link to="/" aria-label="Polydev, dashboard" className="self-start rounded-md px-2">
            <Mark />
          </Link>
          <nav aria-label="Pages">
            <ul className="space-y-0.5">
              {places.map((place) => (
                <li key={place.to}>
                  <Link
                    to={place.to}
                    activeOptions={{ exact: place.to === "/" }}
                    className="flex h-8 items-center gap-2.5 rounded-md px-2 font-medium text-ink-soft transition-colors hover:bg-well hover:text-ink pointer-coarse:h-11"
                    activeProps={{
                      className: "bg-accent-wash text-accent-deep hover:bg-accent-wash hover:text-accent-deep",
                    }}
                  >
                    <Icon name={place.icon} />
                    {place.label}
                  </Link>
                </li>
              ))}
            </ul>
          </nav>
          <ProviderList />
          <div className="mt-auto space-y-1 border-t pt-3">
            <p className="truncate px-2 text-ink-soft" title={me?.email}>
              {me?.email}
            </p>
            <SignOut />
          </div>
        </div>
      </aside>
      <div className="flex min-w-0 flex-col">
        <LostBanner />
        <main id="main" tabIndex={-1} className="grow pb-20 md:pb-0">
          <Outlet />
        </main>
      </div>
      <nav
        aria-label="Pages"
        className="fixed inset-x-0 bottom-0 z-10 border-t bg-sheet pb-[env(safe-area-inset-bottom)] md:hidden"
      >
        <ul className="grid auto-cols-fr grid-flow-col">
          {places.map((place) => (
            <li key={place.to}>
              <Link
                to={place.to}
                activeOptions={{ exact: place.to === "/" }}
                className="flex h-14 flex-col items-center justify-center gap-0.5 text-xs font-medium text-ink-soft outline-offset-[-2px]"
                activeProps={{ className: "text-accent" }}
              >
                <Icon name={place.icon} className="size-5" />
                {place.label}
              </Link>
            </li>
          ))}
        </ul>
      </nav>
      <Announcer />
    </div>
  );
}
