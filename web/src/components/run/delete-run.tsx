import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, take } from "../../api/client";
import { announce } from "../../lib/announce";
import { Button } from "../button";
import { Dialog } from "../dialog";
import { ProblemNote } from "../problem-note";

/** Deletes a run that is over, once asked again. */
export function DeleteRun({ id }: { id: string }) {
  const [open, setOpen] = useState(false);
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const gone = useMutation({
    mutationFn: () => take(api.DELETE("/api/v1/runs/{id}", { params: { path: { id } } })),
    onSuccess: async () => {
      announce("The run is deleted");
      await navigate({ to: "/runs" });
      queryClient.removeQueries({ queryKey: ["run", id] });
      await queryClient.invalidateQueries({ queryKey: ["runs"] });
    },
  });
  return (
    <>
      <Button kind="quiet" className="text-bad hover:bg-bad-wash" onClick={() => setOpen(true)}>
        Delete
      </Button>
      <Dialog open={open} title="Delete this run?" onClose={() => setOpen(false)}>
        <p>Its prompt, answer, events, files and console are gone for good. What it has used stays counted.</p>
        {gone.isError && <ProblemNote problem={gone.error} />}
        <div className="flex justify-end gap-2">
          <Button onClick={() => setOpen(false)}>Keep it</Button>
          <Button kind="danger" busy={gone.isPending} onClick={() => gone.mutate()}>
            Delete
          </Button>
        </div>
      </Dialog>
    </>
  );
}
