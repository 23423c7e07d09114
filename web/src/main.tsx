import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { makeQueryClient } from "./api/queries";
import { show, theme } from "./lib/theme";
import { makeRouter } from "./router";
import "./styles/app.css";

show(theme());

const queryClient = makeQueryClient();
const router = makeRouter(queryClient);

// Somebody whose session has ended is asked to sign in, and comes back to where they were.
queryClient.getQueryCache().subscribe(({ type, query }) => {
  if (type !== "updated" || query.state.status !== "error") return;
  const problem = query.state.error as { status?: number } | null;
  if (problem?.status !== 401 || router.state.location.pathname === "/signin") return;
  const next = router.state.location.href;
  queryClient.clear();
  void router.navigate({ to: "/signin", search: next === "/" ? {} : { next } });
});

const app = document.getElementById("app");
if (app) {
  createRoot(app).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
