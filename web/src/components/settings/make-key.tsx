import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, take } from "../../api/client";
import { ALL_SCOPES, SCOPES } from "../../lib/scopes";
import { Button } from "../button";
import { Dialog } from "../dialog";
import { Choice, Field } from "../field";
import { Once } from "../once";
import { ProblemNote } from "../problem-note";

const DAY = 24 * 60 * 60 * 1000;

/** Makes a key, and shows it this once. */
export function MakeKey({ admin }: { admin: boolean }) {
  const [open, setOpen] = useState(false);
  const queryClient = useQueryClient();
  const make = useMutation({
    mutationFn: (form: FormData) => {
      const days = Number(form.get("days"));
      return take(
        api.POST("/api/v1/keys", {
          body: {
            name: String(form.get("name")).trim() || null,
            scopes: ALL_SCOPES.filter((scope) => form.has(scope)),
            expires_at: days > 0 ? new Date(Date.now() + days * DAY).toISOString() : null,
          },
        }),
      );
    },
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ["keys"] }),
  });
  const close = () => {
    setOpen(false);
    make.reset();
  };
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!make.isPending) make.mutate(new FormData(event.currentTarget));
  };
  return (
    <>
      <Button kind="main" icon="plus" onClick={() => setOpen(true)}>
        Make a key
      </Button>
      <Dialog open={open} title={make.data ? "Your new key" : "Make a key"} onClose={close}>
        {make.data ? (
          <Once secret={make.data.key} what="the key" onDone={close} />
        ) : (
          <form className="space-y-4" onSubmit={submit}>
            <Field label="Name" name="name" maxLength={100} placeholder="laptop" hint="So that you know it again." />
            <fieldset className="space-y-2">
              <legend className="mb-1 font-medium">What it may do</legend>
              {ALL_SCOPES.filter((scope) => admin || scope !== "admin").map((scope) => (
                <label key={scope} className="flex items-start gap-2">
                  <input
                    type="checkbox"
                    name={scope}
                    defaultChecked={scope !== "admin"}
                    className="mt-0.5 size-4 shrink-0 accent-accent"
                  />
                  <span>
                    {SCOPES[scope]} <code className="text-xs text-ink-soft">{scope}</code>
                  </span>
                </label>
              ))}
            </fieldset>
            <Choice label="It ends" name="days" defaultValue="0">
              <option value="0">when it is revoked</option>
              <option value="7">in 7 days</option>
              <option value="30">in 30 days</option>
              <option value="90">in 90 days</option>
              <option value="365">in a year</option>
            </Choice>
            {make.isError && <ProblemNote problem={make.error} />}
            <div className="flex justify-end gap-2">
              <Button onClick={close}>Cancel</Button>
              <Button type="submit" kind="main" busy={make.isPending}>
                Make it
              </Button>
            </div>
          </form>
        )}
      </Dialog>
    </>
  );
}
