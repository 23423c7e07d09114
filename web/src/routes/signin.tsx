import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import type { FormEvent } from "react";
import { api, take } from "../api/client";
import { queries } from "../api/queries";
import { Button } from "../components/button";
import { Doorstep } from "../components/doorstep";
import { Field } from "../components/field";
import { ProblemNote } from "../components/problem-note";
import { forgetDrafts } from "../lib/draft";

/** Where one is let in. */
export function SignIn() {
  const { next } = useSearch({ from: "/signin" });
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const signIn = useMutation({
    mutationFn: (body: { email: string; password: string }) => take(api.POST("/api/v1/session", { body })),
    onSuccess: async (me) => {
      queryClient.clear();
      forgetDrafts(me.id);
      queryClient.setQueryData(queries.me().queryKey, me);
      await navigate({ href: next ?? "/", replace: true });
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    if (!signIn.isPending) signIn.mutate({ email: String(form.get("email")), password: String(form.get("password")) });
  };
  return (
    <Doorstep
      title="Sign in"
      lead={next ? "Sign in, and you go on where you wanted to." : "With your email and password."}
    >
      <form className="space-y-4" onSubmit={submit}>
        <Field label="Email" name="email" type="email" autoComplete="username" required autoFocus />
        <Field label="Password" name="password" type="password" autoComplete="current-password" required />
        {signIn.isError && <ProblemNote problem={signIn.error} />}
        <Button type="submit" kind="main" busy={signIn.isPending} className="w-full">
          Sign in
        </Button>
      </form>
      <details className="border-t pt-4 text-ink-soft">
        <summary className="font-medium text-ink">No account yet?</summary>
        <p className="mt-2">An administrator of this server adds you, and gives you your first password.</p>
        <p className="mt-2">
          On a server that nobody uses yet, open the link that it wrote to the file <code>setup-link</code> in its data
          directory. You have forgotten your password? <code>polydev user password EMAIL</code>, on the server's
          machine, makes a new one.
        </p>
      </details>
    </Doorstep>
  );
}
