import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { api, type Failure, type Login, type LoginQuestion, type Provider, take } from "../../api/client";
import { queries } from "../../api/queries";
import { isUnsaid, type Shown } from "../../lib/login";
import { Button, IconButton } from "../button";
import { Icon, type IconName } from "../icon";
import { ProblemNote } from "../problem-note";
import { Said } from "../said";

type Props = { login: Login; provider: Provider; now: Shown };

/** What became of what somebody has signed in with, over the desktop's lower edge. */
export function Found({ login, provider, now }: Props) {
  const [closed, setClosed] = useState<string | null>(null);
  if (now.status === "verifying" && now.question) {
    return <OtherAccount login={login} provider={provider} question={now.question} />;
  }
  if (now.status === "verifying") {
    return (
      <Bar icon="busy" colour="text-accent animate-spin">
        <strong className="font-bold">You have signed in.</strong> {provider.label} is asked whether it holds.
        {now.checked && (
          <span className="block break-words text-ink-soft">
            <code>{now.checked.command}</code> says: {now.checked.said || "nothing"}
          </span>
        )}
      </Bar>
    );
  }
  // The same may be said every half minute: whoever has closed it has read it.
  if (!now.notProven || now.notProven.message === closed) return null;
  return <NotProven failure={now.notProven} onClose={() => setClosed(now.notProven?.message ?? null)} />;
}

type BarProps = { icon: IconName; colour: string; wary?: boolean; beside?: ReactNode; children: ReactNode };

function Bar({ icon, colour, wary = false, beside, children }: BarProps) {
  return (
    <div
      className={`absolute inset-x-2 bottom-2 mx-auto flex max-w-xl items-start gap-3 rounded-md border p-3 ${wary ? "border-wary bg-wary-wash" : "bg-sheet"}`}
    >
      <Icon name={icon} className={`mt-0.5 ${colour}`} />
      <div className="max-h-48 min-w-0 grow overflow-y-auto break-words">{children}</div>
      {beside}
    </div>
  );
}

/** Somebody has signed in as somebody else than before: that is asked first. */
function OtherAccount({
  login,
  provider,
  question: { account, before },
}: Omit<Props, "now"> & { question: LoginQuestion }) {
  const queryClient = useQueryClient();
  const agree = useMutation({
    mutationFn: () =>
      take(api.POST("/api/v1/logins/{id}/confirm", { params: { path: { id: login.id } }, body: { account } })),
    onSuccess: (agreed) => queryClient.setQueryData(queries.login(login.id).queryKey, agreed),
  });
  return (
    <Bar icon="wary" colour="text-wary" wary>
      <p className="font-bold">This is another account</p>
      <p>
        You have signed in to {provider.label} as {account}. Connected is {before}, whose place it would take. If that
        is not what you want, sign in anew on the desktop, or cancel.
      </p>
      {agree.isError && <ProblemNote problem={agree.error} className="mt-2" />}
      <Button kind="main" className="mt-2" busy={agree.isPending || agree.isSuccess} onClick={() => agree.mutate()}>
        Connect this account
      </Button>
    </Bar>
  );
}

function NotProven({ failure, onClose }: { failure: Failure; onClose: () => void }) {
  const close = <IconButton name="close" label="Close" onClick={onClose} className="-mt-1 -mr-1" />;
  return (
    <Bar icon="wary" colour="text-wary" wary beside={close}>
      <p className="font-bold">
        {isUnsaid(failure) ? "You have signed in, which is not confirmed yet" : "That was no login yet"}
      </p>
      <Said message={failure.message} hint={failure.hint} />
    </Bar>
  );
}
