import { useQueryClient } from "@tanstack/react-query";
import { Outlet } from "@tanstack/react-router";
import { useEffect } from "react";
import { followChanges } from "../api/live";
import { Announcer } from "./announcer";

/** What is around a page that has the window for itself: it shows that the server is lost where it has room for it. */
export function Alone() {
  const queryClient = useQueryClient();
  useEffect(() => followChanges(queryClient), [queryClient]);
  return (
    <div className="flex min-h-dvh flex-col">
      <main id="main" tabIndex={-1} className="flex grow flex-col">
        <Outlet />
      </main>
      <Announcer />
    </div>
  );
}
