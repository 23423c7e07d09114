import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, type Login, take } from "../../api/client";
import { queries } from "../../api/queries";
import { Button } from "../button";
import { Dialog } from "../dialog";
import { ProblemNote } from "../problem-note";

/** Ends a login, once one is sure. */
export function Cancel({ login, asks = false }: { login: Login; asks?: boolean }) {
  const queryClient = useQueryClient();
  const [open, setOpen] = useState(false);
  const cancel = useMutation({
    mutationFn: () => take(api.DELETE("/api/v1/logins/{id}", { params: { path: { id: login.id } } })),
    onSuccess: () => {
      setOpen(false);
      return queryClient.invalidateQueries({ queryKey: queries.login(login.id).queryKey });
    },
  });
  const busy = cancel.isPending || cancel.isSuccess;
  return (
    <>
      {!asks && cancel.isError && <ProblemNote problem={cancel.error} title="It was not cancelled" />}
      <Button busy={busy} onClick={() => (asks ? setOpen(true) : cancel.mutate())}>
        Cancel
      </Button>
      <Dialog open={open} title="Stop signing in?" onClose={() => setOpen(false)}>
        <p>The desktop is destroyed with everything in it. Nothing is connected; you can begin again at any time.</p>
        {cancel.isError && <ProblemNote problem={cancel.error} title="It was not cancelled" />}
        <div className="flex flex-wrap justify-end gap-2">
          <Button onClick={() => setOpen(false)}>Go on signing in</Button>
          <Button kind="danger" busy={busy} onClick={() => cancel.mutate()}>
            Destroy the desktop
          </Button>
        </div>
      </Dialog>
    </>
  );
}
