import { type DragEvent, type FormEvent, type KeyboardEvent, useId, useRef, useState } from "react";
import type { Provider } from "../../api/client";
import { freshKey, type Sent } from "../../api/send";
import { useDraft } from "../../lib/draft";
import { Button, pressed } from "../button";
import { Choice } from "../field";
import { Fold } from "../fold";
import { Icon } from "../icon";
import { Words } from "../words";
import { Files, wrongWith } from "./files";
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
  const [prompt, setPrompt] = useDraft("prompt");
  const [system, setSystem] = useDraft("system");
  const [model, setModel] = useState("");
  const [tools, setTools] = useState(true);
  const [files, setFiles] = useState<File[]>([]);
  const [over, setOver] = useState(false);
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
    ...(!tools && { tools: "none" as const }),
  };
  const send = () => {
    if (!busy && !wrong && prompt.trim() !== "") onSend({ ...ask, files, key: freshKey() });
  };
  const add = (more: FileList | null) => {
    const fresh = [...(more ?? [])];
    setFiles([...files.filter((file) => !fresh.some(({ name }) => name === file.name)), ...fresh]);
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    add(event.dataTransfer.files);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    send();
  };

  return (
    <form
      aria-label="What to ask"
      className={`space-y-4 rounded-md ${over ? "outline-2 outline-offset-4 outline-accent" : ""}`}
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        send();
      }}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
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
      <Files files={files} onRemove={(file) => setFiles(files.filter((other) => other !== file))} />
      {wrong && (
        <p role="alert" className="text-bad">
          <Words>{wrong}</Words>
        </p>
      )}
      <div className="flex flex-wrap items-center gap-2">
        <Button type="submit" kind="main" icon="send" busy={busy} disabled={prompt.trim() === "" || wrong !== null}>
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
            add(event.target.files);
            event.target.value = "";
          }}
        />
        <ShowAs ask={{ ...ask, files: files.map((file) => file.name) }} />
      </div>
      <Fold summary={<span className="font-medium text-ink-soft">More of how it works</span>} open={system !== ""}>
        <div className="space-y-4 pt-1">
          <label className="flex items-start gap-2">
            <input
              type="checkbox"
              checked={tools}
              onChange={(event) => setTools(event.target.checked)}
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
