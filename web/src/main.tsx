import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import type { Me } from "./api/client";
import { makeQueryClient } from "./api/queries";
import { forgetDrafts } from "./lib/draft";
import { keepFocus } from "./lib/keep-focus";
import { show, theme } from "./lib/theme";
import { fetchRest, makeRouter } from "./router";
import "./styles/app.css";

show(theme());

const queryClient = makeQueryClient();
const router = makeRouter(queryClient);

// What belongs to somebody else must not stay in the page where their session has changed hands, in another window.
let whose: string | null = null;
queryClient.getQueryCache().subscribe(({ type, query }) => {
  if (query.queryKey[0] !== "me") return;
  const id = (query.state.data as Me | undefined)?.id ?? null;
  if (type === "removed") whose = null;
  if (type !== "updated" || id === null || id === whose) return;
  if (whose === null) {
    whose = id;
    return;
  }
  forgetDrafts(id);
  window.location.reload();
});

// A file that is dropped beside its place would be opened in the place of the app.
for (const type of ["dragover", "drop"] as const) {
  window.addEventListener(type, (event) => {
    if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
  });
}

// Somebody whose session has ended is asked to sign in, and comes back to where they were.
queryClient.getQueryCache().subscribe(({ type, query }) => {
  if (type !== "updated" || query.state.status !== "error") return;
  const problem = query.state.error as { status?: number } | null;
  if (problem?.status !== 401 || router.state.location.pathname === "/signin") return;
  const next = router.state.location.href;
  queryClient.clear();
  void router.navigate({ to: "/signin", search: next === "/" ? {} : { next } });
});

/** How long after the first page the others are fetched, ms: it has the line for itself. */
const REST_AFTER = 3000;

const app = document.getElementById("app");
if (app) {
  keepFocus(app);
  window.addEventListener("load", () => setTimeout(() => void fetchRest(), REST_AFTER));
  createRoot(app).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
