import { useState } from "react";
import type { Connection, Provider } from "../../api/client";
import { bytes } from "../../lib/text";
import { Button } from "../button";
import { CommandLine } from "../command-line";
import { Drop } from "../drop";
import { Icon } from "../icon";
import { ProblemNote } from "../problem-note";
import { Status } from "../status";
import { useConnect } from "./use-connect";
import { Way } from "./way";

type Props = { provider: Provider; onDone: (connection: Connection) => void };

/** The most bytes of a login's file that is worth sending: the server takes less. */
const FILE_MAX = 256 * 1024;

/** Connecting with the files in which the provider's own tool keeps a login. */
export function ByImport({ provider, onDone }: Props) {
  const connect = useConnect(provider.provider, onDone);
  const [chosen, setChosen] = useState<File[]>([]);
  const [strange, setStrange] = useState<File | null>(null);
  const files = provider.login_files;
  const needed = files.filter((file) => file.required && !chosen.some(({ name }) => name === file.name));

  const add = (more: File[]) => {
    const known = more.filter(({ name, size }) => size <= FILE_MAX && files.some((file) => file.name === name));
    setStrange(more.find((file) => !known.includes(file)) ?? null);
    setChosen([...chosen.filter(({ name }) => !known.some((file) => file.name === name)), ...known]);
    connect.reset();
  };

  return (
    <Way
      anchor="import"
      icon="file"
      title="Import a login"
      when={`Moves the login that ${provider.label}'s tool already has on your machine. It stays your plan's, under its terms.`}
    >
      <ul className="space-y-2">
        {files.map(({ name, path, required }) => (
          <li key={name} className="space-y-1">
            <span className="flex flex-wrap items-center justify-between gap-2">
              <span>{required ? "The file" : "If it is there, also"}</span>
              {chosen.some((file) => file.name === name) && <Status is="good">Chosen</Status>}
            </span>
            <CommandLine>{`~/${path}`}</CommandLine>
          </li>
        ))}
      </ul>
      <Drop label={`The files of ${provider.label}'s login`} onFiles={add}>
        Drop {files.length > 1 ? "them" : "it"} here, or choose {files.length > 1 ? "them" : "it"}
      </Drop>
      {strange && (
        <p role="alert" className="text-bad">
          <code className="break-all">{strange.name}</code>{" "}
          {files.some(({ name }) => name === strange.name)
            ? `has ${bytes(strange.size)}: a file of a login has at most ${bytes(FILE_MAX)}.`
            : "is not one of these files. Hidden files can be chosen too: your file picker shows them on request."}
        </p>
      )}
      <p className="flex gap-2 text-ink-soft">
        <Icon name="wary" className="mt-0.5 text-wary" />
        <span>
          Two copies of a login log each other out. Do not use the tool on your machine any more, or sign in there again
          after this.
        </span>
      </p>
      {connect.isError && <ProblemNote problem={connect.error} title="Nothing was kept" />}
      <Button
        kind="main"
        className="w-full"
        disabled={needed.length > 0 || chosen.length === 0}
        busy={connect.isPending}
        onClick={() => connect.mutate({ files: chosen })}
      >
        {connect.isPending ? `Asking ${provider.label}` : "Import"}
      </Button>
    </Way>
  );
}
