import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { api, take } from "../api/client";
import { asProblem } from "../api/problem";
import { forgetDrafts } from "../lib/draft";
import { Button } from "./button";
import { ProblemNote } from "./problem-note";

/** Ends this session, and leaves nothing of it in the page. */
export function SignOut() {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const out = useMutation({
    mutationFn: () => take(api.DELETE("/api/v1/session")),
    // A session that is over already is what was wanted.
    onSettled: async (_, thrown) => {
      if (thrown && asProblem(thrown).status !== 401) return;
      forgetDrafts();
      queryClient.clear();
      await navigate({ to: "/signin" });
    },
  });
  return (
    <div className="flex flex-col items-start gap-2">
      {out.isError && asProblem(out.error).status !== 401 && (
        <ProblemNote problem={out.error} title="You are still signed in" />
      )}
      <Button kind="quiet" icon="out" busy={out.isPending} onClick={() => out.mutate()} className="px-2 text-ink-soft">
        Sign out
      </Button>
    </div>
  );
}
