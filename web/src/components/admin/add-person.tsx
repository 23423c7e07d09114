import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, take } from "../../api/client";
import { Button } from "../button";
import { Dialog } from "../dialog";
import { Choice, Field } from "../field";
import { Once } from "../once";
import { ProblemNote } from "../problem-note";

/** Adds somebody, and shows their first password this once. */
export function AddPerson() {
  const [open, setOpen] = useState(false);
  const queryClient = useQueryClient();
  const add = useMutation({
    mutationFn: (body: { email: string; role: "admin" | "member" }) => take(api.POST("/api/v1/users", { body })),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ["users"] }),
  });
  const close = () => {
    setOpen(false);
    add.reset();
  };
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const role = form.get("role") === "admin" ? "admin" : "member";
    if (!add.isPending) add.mutate({ email: String(form.get("email")), role });
  };
  return (
    <>
      <Button kind="main" icon="plus" onClick={() => setOpen(true)}>
        Add somebody
      </Button>
      <Dialog open={open} title={add.data ? `${add.data.email} is added` : "Add somebody"} onClose={close}>
        {add.data ? (
          <Once secret={add.data.password} what="their password" onDone={close} />
        ) : (
          <form className="space-y-4" onSubmit={submit}>
            <Field label="Email" name="email" type="email" autoComplete="off" required />
            <Choice
              label="They are"
              name="role"
              defaultValue="member"
              hint="An admin adds people, and sees the metadata of others' runs; never prompts, answers or accounts."
            >
              <option value="member">a member</option>
              <option value="admin">an admin</option>
            </Choice>
            {add.isError && <ProblemNote problem={add.error} />}
            <div className="flex justify-end gap-2">
              <Button onClick={close}>Cancel</Button>
              <Button type="submit" kind="main" busy={add.isPending}>
                Add
              </Button>
            </div>
          </form>
        )}
      </Dialog>
    </>
  );
}
