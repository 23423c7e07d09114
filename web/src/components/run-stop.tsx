import { useMutation } from "@tanstack/react-query";
import { api, take } from "../api/client";
import { asProblem } from "../api/problem";
import { announce } from "../lib/announce";
import { sentence } from "../lib/text";
import { Button } from "./button";

/** Stops a run that is under way. */
export function RunStop({ id }: { id: string }) {
  const stop = useMutation({
    mutationFn: () => take(api.POST("/api/v1/runs/{id}/cancel", { params: { path: { id } } })),
    onError: (thrown) => {
      // One that is over meanwhile is stopped.
      if (asProblem(thrown).status !== 409) announce(`It could not be stopped: ${thrown.message}`);
    },
  });
  const problem = stop.isError && asProblem(stop.error).status !== 409 ? asProblem(stop.error) : null;
  return (
    <>
      {problem && <span className="text-bad">{sentence(problem.message)}</span>}
      <Button icon="stop" busy={stop.isPending || stop.isSuccess} onClick={() => stop.mutate()}>
        {stop.isSuccess ? "Stopping" : "Stop"}
      </Button>
    </>
  );
}
