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
export function TimeLeft({ login, until }: { login: Login; until: string }) {
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
    onError: (thrown) => announce(sentence(asProblem(thrown).message)),
  });
  const longest = extend.isError && asProblem(extend.error).status === 409;
  const seconds = Math.ceil(left / 1000);
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
        title={extend.isError ? sentence(asProblem(extend.error).message) : "Five minutes more, an hour in all"}
        onClick={() => extend.mutate()}
      >
        {longest ? "No more" : "Extend"}
      </Button>
    </div>
  );
}
