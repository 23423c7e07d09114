import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { api, take } from "../api/client";
import { asProblem } from "../api/problem";
import { announce } from "../lib/announce";
import { forgetDrafts } from "../lib/draft";
import { Button } from "./button";

/** Ends this session, and leaves nothing of it in the page. */
export function SignOut() {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const out = useMutation({
    mutationFn: () => take(api.DELETE("/api/v1/session")),
    // A session that is over already is what was wanted.
    onSettled: async (_, thrown) => {
      if (thrown && asProblem(thrown).status !== 401) return announce(`You are still signed in: ${thrown.message}`);
      forgetDrafts();
      queryClient.clear();
      await navigate({ to: "/signin" });
    },
  });
  return (
    <div className="flex items-center gap-2">
      {out.isError && <span className="text-bad">Still signed in</span>}
      <Button kind="quiet" icon="out" busy={out.isPending} onClick={() => out.mutate()} className="px-2 text-ink-soft">
        Sign out
      </Button>
    </div>
  );
}
