import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, type Login, take } from "../../api/client";
import { asProblem } from "../../api/problem";
import { queries } from "../../api/queries";
import { announce } from "../../lib/announce";
import { useNow } from "../../lib/now";
import { sentence } from "../../lib/text";
import { exact } from "../../lib/time";
import { Button } from "../button";

/** From when on the end is near, ms: the server warns then too. */
const NEAR = 60_000;

/** How long the desktop stays open, and more of it. */
export function TimeLeft({ login, until, verifying }: { login: Login; until: string; verifying: boolean }) {
  const queryClient = useQueryClient();
  const end = Date.parse(until);
  const left = Math.max(0, end - useNow(true));
  const near = left < NEAR;
  const extend = useMutation({
    mutationFn: () => take(api.POST("/api/v1/logins/{id}/extend", { params: { path: { id: login.id } } })),
    onSuccess: (extended) => {
      queryClient.setQueryData(queries.login(login.id).queryKey, extended);
      announce("Five minutes more");
    },
  });
  const longest = extend.isError && asProblem(extend.error).status === 409;
  const seconds = Math.ceil(left / 1000);
  // What somebody has signed in with is looked at to its end.
  if (verifying && left === 0) return null;
  return (
    <div className="flex items-center gap-2">
      <span
        role="timer"
        title={`It closes at ${exact(end)}`}
        className={`figures whitespace-nowrap ${near ? "font-medium text-wary" : "text-ink-soft"}`}
      >
        {Math.floor(seconds / 60)}:{String(seconds % 60).padStart(2, "0")} <span className="max-sm:unseen">left</span>
      </span>
      <Button
        kind={near ? "main" : "plain"}
        busy={extend.isPending}
        disabled={longest}
        title="Five minutes more, an hour in all"
        onClick={() => extend.mutate()}
      >
        {longest ? "No more" : "Extend"}
      </Button>
      {extend.isError && (
        <p role="alert" className="max-w-48 text-sm text-bad">
          {sentence(asProblem(extend.error).message)}
        </p>
      )}
    </div>
  );
}
