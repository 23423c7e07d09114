import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, type Connection, type Provider, take } from "../api/client";
import { announce } from "../lib/announce";
import { Button } from "./button";
import { Dialog } from "./dialog";
import { OutLink } from "./out-link";
import { ProblemNote } from "./problem-note";

type Props = { provider: Provider; connection: Connection; open: boolean; onClose: () => void };

/** Asks before a connection is forgotten, and says where it is ended at the provider. */
export function Disconnect({ provider, connection, open, onClose }: Props) {
  const queryClient = useQueryClient();
  const forget = useMutation({
    mutationFn: () =>
      take(api.DELETE("/api/v1/connections/{provider}", { params: { path: { provider: provider.provider } } })),
    onSuccess: async () => {
      announce(`${provider.label} is disconnected`);
      onClose();
      await queryClient.invalidateQueries();
    },
  });
  const byKey = connection.method === "api_key";
  return (
    <Dialog open={open} title={`Disconnect ${provider.label}?`} onClose={onClose}>
      <p>
        This server forgets the {byKey ? "API key" : "login"}. Runs that are under way go on to their end; new ones are
        refused until you connect again.
      </p>
      <p className="text-ink-soft">
        At the provider it stays good. To end it there too, go to{" "}
        <OutLink href={byKey ? provider.revoke.api_key : provider.revoke.login} />.
      </p>
      {forget.isError && <ProblemNote problem={forget.error} />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Keep it</Button>
        <Button kind="danger" busy={forget.isPending} onClick={() => forget.mutate()}>
          Disconnect
        </Button>
      </div>
    </Dialog>
  );
}
