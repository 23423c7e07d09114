import { useMutation } from "@tanstack/react-query";
import { api, take } from "../api/client";
import { asProblem } from "../api/problem";
import { Button } from "./button";
import { ProblemNote } from "./problem-note";

/** Stops a run that is under way. */
export function RunStop({ id }: { id: string }) {
  const stop = useMutation({
    mutationFn: () => take(api.POST("/api/v1/runs/{id}/cancel", { params: { path: { id } } })),
  });
  // One that is over meanwhile is stopped.
  const failed = stop.isError && asProblem(stop.error).status !== 409;
  return (
    <>
      {failed && (
        <ProblemNote problem={stop.error} title="It was not stopped" className="text-left whitespace-normal" />
      )}
      <Button icon="stop" busy={stop.isPending || stop.isSuccess} onClick={() => stop.mutate()}>
        {stop.isSuccess ? "Stopping" : "Stop"}
      </Button>
    </>
  );
}
