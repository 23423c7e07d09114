import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { type FormEvent, useEffect, useState } from "react";
import { api, take } from "../api/client";
import { asProblem } from "../api/problem";
import { queries } from "../api/queries";
import { Button, pressed } from "../components/button";
import { Doorstep } from "../components/doorstep";
import { Field } from "../components/field";
import { ProblemNote } from "../components/problem-note";

/** Where the first person makes their account, by the setup link. */
export function Setup() {
  const [token] = useState(() => new URLSearchParams(window.location.search).get("token"));
  // It would stay in the browser's history.
  useEffect(() => window.history.replaceState(window.history.state, "", "/setup"), []);
  if (!token) return <WithoutToken />;
  return <FirstAccount token={token} />;
}

function WithoutToken() {
  return (
    <Doorstep title="Set up" lead="The first account is made by the setup link, and this address is not all of it.">
      <p>
        While nobody uses this server, each start writes a fresh link to the file <code>setup-link</code> in its data
        directory, and shows it where it was started from a terminal. Open that link.
      </p>
      <p>If there is an account already, the link has done its work.</p>
      <Link to="/signin" className={pressed("plain")}>
        Sign in
      </Link>
    </Doorstep>
  );
}

function FirstAccount({ token }: { token: string }) {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const [differ, setDiffer] = useState(false);
  const make = useMutation({
    mutationFn: (body: { email: string; password: string }) =>
      take(api.POST("/api/v1/setup", { body: { token, ...body } })),
    onSuccess: async (me) => {
      queryClient.clear();
      queryClient.setQueryData(queries.me().queryKey, me);
      await navigate({ to: "/", replace: true });
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const password = String(form.get("password"));
    const same = password === form.get("again");
    setDiffer(!same);
    if (!same) event.currentTarget.querySelector<HTMLInputElement>("[name=again]")?.focus();
    if (same && !make.isPending) make.mutate({ email: String(form.get("email")), password });
  };
  const over = make.isError && asProblem(make.error).status === 410;
  return (
    <Doorstep title="Make the first account" lead="It is an administrator's: it can add other people later.">
      <form className="space-y-4" onSubmit={submit}>
        <Field label="Email" name="email" type="email" autoComplete="username" required autoFocus />
        <Field
          label="Password"
          name="password"
          type="password"
          autoComplete="new-password"
          minLength={8}
          maxLength={1024}
          required
          hint="At least 8 characters. A few words are better than one word with signs in it."
        />
        <Field
          label="The password again"
          name="again"
          type="password"
          autoComplete="new-password"
          required
          wrong={differ ? "The two are not the same." : null}
        />
        {make.isError && (
          <ProblemNote problem={make.error}>
            {over && (
              <Link to="/signin" className={pressed("plain")}>
                Sign in
              </Link>
            )}
          </ProblemNote>
        )}
        <Button type="submit" kind="main" busy={make.isPending} className="w-full">
          Make the account
        </Button>
      </form>
    </Doorstep>
  );
}
