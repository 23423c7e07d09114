import { useQuery } from "@tanstack/react-query";
import { type FormEvent, type KeyboardEvent, useId, useRef, useState } from "react";
import type { Provider } from "../../api/client";
import { queries } from "../../api/queries";
import { freshKey, type Sent } from "../../api/send";
import { useDraft } from "../../lib/draft";
import { isGood, ofConnection } from "../../lib/standing";
import { Button, pressed } from "../button";
import { useDrop } from "../drop";
import { Choice } from "../field";
import { Fold } from "../fold";
import { Icon } from "../icon";
import { Reconnect } from "../reconnect";
import { Status } from "../status";
import { Words } from "../words";
import { Files, Wanted, wrongWith } from "./files";
import type { Drafts } from "./fill-in";
import { ModelField } from "./model-field";
import { ShowAs } from "./show-as";

const AREA =
  "w-full resize-y rounded-md border border-edge bg-sheet p-3 text-md field-sizing-content placeholder:text-ink-faint";

/** The longest prompt that the server takes, bytes. */
const PROMPT_MAX = 1024 * 1024;

type Props = {
  /** The providers that can be asked. */
  providers: Provider[];
  /** Which of them is chosen. */
  provider: Provider;
  onProvider: (name: string) => void;
  busy: boolean;
  onSend: (sent: Sent) => void;
};

/** What is asked: of whom, what, with which files. */
export function Composer({ providers, provider, onProvider, busy, onSend }: Props) {
  const me = useQuery(queries.me()).data?.id ?? "";
  const useMine = (name: Drafts) => useDraft(me, name);
  const [prompt, setPrompt] = useMine("prompt");
  const [system, setSystem] = useMine("system");
  const [tools, setTools] = useMine("tools");
  const [wanted, setWanted] = useMine("wanted");
  const [model, setModel] = useMine(`model.${provider.provider}`);
  const [files, setFiles] = useState<File[]>([]);
  const picker = useRef<HTMLInputElement>(null);
  const promptId = useId();
  const systemId = useId();

  const long = prompt.length > PROMPT_MAX / 4 && new Blob([prompt]).size > PROMPT_MAX;
  const wrong = long ? "The prompt is longer than 1 MiB: send it as a file." : wrongWith(files);
  const ask = {
    provider: provider.provider,
    prompt,
    ...(model.trim() && { model: model.trim() }),
    ...(system.trim() && { system }),
    ...(tools === "none" && { tools: "none" as const }),
  };
  const send = () => {
    if (busy || wrong || !provider.connected || prompt.trim() === "") return;
    setWanted("");
    onSend({ ...ask, files, key: freshKey() });
  };
  const add = (fresh: File[]) =>
    setFiles([...files.filter((file) => !fresh.some(({ name }) => name === file.name)), ...fresh]);
  const { over, target } = useDrop(add);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    // A key that is held down is pressed once.
    if (!event.repeat) send();
  };

  return (
    <form
      aria-label="What to ask"
      className={`space-y-4 rounded-md ${over ? "outline-2 outline-offset-4 outline-accent" : ""}`}
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        send();
      }}
      {...target}
    >
      <div className="grid grid-cols-2 gap-4">
        <Choice label="Provider" value={provider.provider} onChange={(event) => onProvider(event.target.value)}>
          {providers.map(({ provider, label }) => (
            <option key={provider} value={provider}>
              {label}
            </option>
          ))}
        </Choice>
        <ModelField key={provider.provider} provider={provider} model={model} onModel={setModel} />
      </div>
      <Standing provider={provider} />
      <div className="space-y-1">
        <label htmlFor={promptId} className="block font-medium">
          Prompt
        </label>
        <textarea
          id={promptId}
          value={prompt}
          onChange={(event) => setPrompt(event.target.value)}
          onKeyDown={onKeyDown}
          placeholder="What is 17*23?"
          aria-describedby={`${promptId}-keys`}
          className={`${AREA} max-h-[50dvh] min-h-36`}
        />
        <p id={`${promptId}-keys`} className="text-xs text-ink-soft">
          Ctrl-Enter sends it. Files can be dropped here.
        </p>
      </div>
      <Wanted
        names={wanted.split("\n").filter((name) => name !== "" && !files.some((file) => file.name === name))}
        onWithout={() => setWanted("")}
      />
      <Files files={files} onRemove={(file) => setFiles(files.filter((other) => other !== file))} />
      {wrong && (
        <p role="alert" className="text-bad">
          <Words>{wrong}</Words>
        </p>
      )}
      <div className="flex flex-wrap items-center gap-2">
        <Button
          type="submit"
          kind="main"
          icon="send"
          busy={busy}
          disabled={prompt.trim() === "" || wrong !== null || !provider.connected}
        >
          Send
        </Button>
        <button type="button" className={pressed("plain")} onClick={() => picker.current?.click()}>
          <Icon name="clip" />
          Add files
        </button>
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          aria-label="Files that go with it"
          onChange={(event) => {
            add([...(event.target.files ?? [])]);
            event.target.value = "";
          }}
        />
        <ShowAs ask={{ ...ask, files: files.map((file) => file.name) }} />
      </div>
      <Fold
        summary={<span className="font-medium text-ink-soft">More of how it works</span>}
        open={system !== "" || tools !== ""}
      >
        <div className="space-y-4 pt-1">
          <label className="flex items-start gap-2">
            <input
              type="checkbox"
              checked={tools === ""}
              onChange={(event) => setTools(event.target.checked ? "" : "none")}
              className="mt-0.5 size-4 accent-accent"
            />
            <span>
              It may use its own tools
              <span className="block text-ink-soft">A shell and files, in a sandbox that is destroyed afterwards.</span>
            </span>
          </label>
          <div className="space-y-1">
            <label htmlFor={systemId} className="block font-medium">
              Added to its own instructions
            </label>
            <textarea
              id={systemId}
              value={system}
              onChange={(event) => setSystem(event.target.value)}
              onKeyDown={onKeyDown}
              rows={3}
              className={`${AREA} max-h-60 text-sm`}
            />
          </div>
        </div>
      </Fold>
    </form>
  );
}

/** What is wrong with the connection to whom is asked, if anything. */
function Standing({ provider: { provider, label, connected } }: { provider: Provider }) {
  const connection = useQuery(queries.connections()).data?.find((one) => one.provider === provider);
  if (connected && (!connection || isGood(connection.status))) return null;
  const { is, word } = ofConnection(connected ? connection : undefined);
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
      <Status is={is}>{word}</Status>
      <span>
        {connected ? `${label} no longer takes the connection.` : `${label} can be asked once it is connected.`}
      </span>
      <Reconnect code={connected ? "needs_reconnect" : "not_connected"} provider={provider} />
    </div>
  );
}
