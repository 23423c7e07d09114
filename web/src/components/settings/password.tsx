import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { api, take } from "../../api/client";
import { announce } from "../../lib/announce";
import { Button } from "../button";
import { Field } from "../field";
import { ProblemNote } from "../problem-note";
import { Status } from "../status";
import { Part } from "./part";

/** Changing one's password. */
export function Password() {
  const form = useRef<HTMLFormElement>(null);
  const [differ, setDiffer] = useState(false);
  const queryClient = useQueryClient();
  const change = useMutation({
    mutationFn: (body: { current_password: string; new_password: string }) =>
      take(api.POST("/api/v1/me/password", { body })),
    onSuccess: () => {
      form.current?.reset();
      announce("Your password is changed");
      return queryClient.invalidateQueries({ queryKey: ["sessions"] });
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget);
    const text = (name: string) => String(data.get(name));
    const same = text("new") === text("again");
    setDiffer(!same);
    if (!same) event.currentTarget.querySelector<HTMLInputElement>("[name=again]")?.focus();
    if (same && !change.isPending) {
      change.mutate({ current_password: text("current"), new_password: text("new") });
    }
  };
  return (
    <Part anchor="password" title="Password" lead="A change signs you out everywhere but here. Your keys go on.">
      <form ref={form} className="max-w-sm space-y-4" onSubmit={submit}>
        <Field label="Current password" name="current" type="password" autoComplete="current-password" required />
        <Field
          label="New password"
          name="new"
          type="password"
          autoComplete="new-password"
          minLength={8}
          maxLength={1024}
          required
          hint="At least 8 characters."
        />
        <Field
          label="The new one again"
          name="again"
          type="password"
          autoComplete="new-password"
          required
          wrong={differ ? "The two are not the same." : null}
        />
        {change.isError && <ProblemNote problem={change.error} title="It is as it was" />}
        <div className="flex items-center gap-3">
          <Button type="submit" busy={change.isPending}>
            Change it
          </Button>
          {change.isSuccess && <Status is="good">Changed</Status>}
        </div>
      </form>
    </Part>
  );
}
