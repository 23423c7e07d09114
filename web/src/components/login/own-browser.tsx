import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useLocation } from "@tanstack/react-router";
import { type FormEvent, useEffect, useState } from "react";
import { api, type Login, type LoginLink, type Provider, take } from "../../api/client";
import { queries } from "../../api/queries";
import type { Shown } from "../../lib/login";
import { Loading } from "../asked";
import { Button } from "../button";
import { Steps } from "../connect/way";
import { CopyButton, CopyIcon } from "../copy";
import { Dialog } from "../dialog";
import { Field } from "../field";
import { OutLink } from "../out-link";
import { ProblemNote } from "../problem-note";
import { Said } from "../said";
import { OWN_BROWSER } from "./use-open";

type Props = { login: Login; provider: Provider; now: Shown };

/** Signing in with one's own browser instead of the desktop's, with what the tool shows for that. */
export function OwnBrowser({ login, provider, now }: Props) {
  const chosen = useLocation({ select: ({ hash }) => hash === OWN_BROWSER });
  const [open, setOpen] = useState(false);
  const queryClient = useQueryClient();
  const ask = useMutation({
    mutationFn: () => take(api.POST("/api/v1/logins/{id}/link", { params: { path: { id: login.id } } })),
    onSuccess: (asked) => queryClient.setQueryData(queries.login(login.id).queryKey, asked),
  });
  const begin = () => {
    setOpen(true);
    if (now.link === null) ask.mutate();
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: who has come here for it has asked once
  useEffect(() => {
    if (chosen) begin();
  }, [chosen]);
  // What comes of it is told over the desktop.
  useEffect(() => {
    if (now.status === "verifying") setOpen(false);
  }, [now.status]);
  if (!provider.link) return null;
  return (
    <>
      <Button kind="quiet" className="max-sm:-ml-3" onClick={begin}>
        Use my own browser
      </Button>
      <Dialog open={open} title="Sign in with your own browser" onClose={() => setOpen(false)}>
        <p className="text-ink-soft">
          For a passkey, a security key or a prompt on your phone, which do not reach the desktop's browser, and where{" "}
          {provider.label} refuses that one. It ends up at the same connection.
        </p>
        {now.link === "asked" || ask.isPending ? (
          <Loading>{`Asking ${provider.label} for a page`}</Loading>
        ) : (
          now.link && <Page key={now.link.verification_uri} login={login} link={now.link} />
        )}
        {ask.isError && <ProblemNote problem={ask.error} title="There is no page" />}
        {now.linkFailed && (
          <div role="alert" className="rounded-md border border-wary bg-wary-wash p-3">
            <p className="font-bold">That did not work</p>
            <Said message={now.linkFailed.message} hint={null} className="break-words" />
          </div>
        )}
        {now.link === null && !ask.isPending && (
          <Button kind="main" onClick={() => ask.mutate()}>
            Ask for another page
          </Button>
        )}
      </Dialog>
    </>
  );
}

function Page({ login, link }: { login: Login; link: LoginLink }) {
  const at = new URL(link.verification_uri);
  const page = (
    <>
      <OutLink href={link.verification_uri}>
        <span className="break-all">{at.host + at.pathname}</span>
      </OutLink>{" "}
      <CopyIcon text={link.verification_uri} what="the address" className="-my-2 align-middle" />
    </>
  );
  if (link.user_code) {
    return (
      <>
        <Steps>
          <li>Open {page} and sign in.</li>
          <li>
            Enter this code there, and agree:
            <span className="mt-1 flex flex-wrap items-center gap-3">
              <code className="rounded-md bg-well px-3 py-1 text-lg">{link.user_code}</code>
              <CopyButton text={link.user_code}>Copy the code</CopyButton>
            </span>
          </li>
          <li>Come back: it is noticed by itself.</li>
        </Steps>
        <p className="text-ink-soft">The code is good for some minutes, once, and on that page alone.</p>
      </>
    );
  }
  return (
    <>
      <Steps>
        <li>Open {page} and sign in.</li>
        <li>It shows a code at last. Copy all of it.</li>
        <li>Paste it here. It is good once.</li>
      </Steps>
      <Code login={login} />
    </>
  );
}

/** Where the code goes that the provider's page has shown. */
function Code({ login }: { login: Login }) {
  const give = useMutation({
    mutationFn: (code: string) =>
      take(api.POST("/api/v1/logins/{id}/code", { params: { path: { id: login.id } }, body: { code } })),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const code = String(new FormData(event.currentTarget).get("code")).trim();
    if (!give.isPending && code !== "") give.mutate(code);
  };
  return (
    <form className="space-y-3" onSubmit={submit}>
      <Field label="The code" name="code" required autoComplete="off" spellCheck={false} className="font-mono" />
      {give.isError && <ProblemNote problem={give.error} title="It was not taken" />}
      <Button type="submit" kind="main" busy={give.isPending || give.isSuccess} className="w-full">
        {give.isSuccess ? "It is tried" : "Sign in"}
      </Button>
    </form>
  );
}
