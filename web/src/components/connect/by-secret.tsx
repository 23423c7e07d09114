import type { FormEvent } from "react";
import type { Connection, Provider } from "../../api/client";
import { Button } from "../button";
import { CommandLine } from "../command-line";
import { OutLink } from "../out-link";
import { ProblemNote } from "../problem-note";
import { SecretField } from "../secret-field";
import { useConnect } from "./use-connect";
import { Steps, Way } from "./way";

type Props = { provider: Provider; onDone: (connection: Connection) => void };

/** Connecting with an API key. */
export function ByApiKey({ provider, onDone }: Props) {
  return (
    <Way
      anchor="api_key"
      icon="key"
      title="API key"
      when="The way that providers ask programs to take. What you use is billed to the key."
    >
      <Steps>
        <li>
          Make a key at <OutLink href={provider.revoke.api_key} />.
        </li>
        <li>Paste it here. It is tried, then sealed; it is never shown again.</li>
      </Steps>
      <SecretForm provider={provider} field="api_key" label="API key" onDone={onDone} />
    </Way>
  );
}

/** Connecting with a token that the provider's tool prints. */
export function BySetupToken({ provider, command, onDone }: Props & { command: string }) {
  return (
    <Way
      anchor="setup_token"
      icon="tool"
      title="Setup token"
      when={`Uses your ${provider.label} plan, where its terms allow it. For those who have the tool on their own machine.`}
    >
      <Steps>
        <li>
          <span className="mb-1 block">On your machine, type:</span>
          <CommandLine>{command}</CommandLine>
        </li>
        <li>Sign in, and copy the token that it prints.</li>
        <li>Paste it here.</li>
      </Steps>
      <SecretForm provider={provider} field="setup_token" label="Setup token" onDone={onDone} />
    </Way>
  );
}

function SecretForm({ provider, field, label, onDone }: Props & { field: "api_key" | "setup_token"; label: string }) {
  const connect = useConnect(provider.provider, onDone);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const secret = String(new FormData(event.currentTarget).get("secret")).trim();
    if (!connect.isPending && secret !== "")
      connect.mutate(field === "api_key" ? { api_key: secret } : { setup_token: secret });
  };
  return (
    <form className="space-y-3" onSubmit={submit}>
      <SecretField label={label} name="secret" required />
      {connect.isError && <ProblemNote problem={connect.error} title="Nothing was kept" />}
      <Button type="submit" kind="main" busy={connect.isPending} className="w-full">
        {connect.isPending ? `Asking ${provider.label}` : "Connect"}
      </Button>
    </form>
  );
}
