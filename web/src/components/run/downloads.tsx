import type { RunEvent } from "../../api/client";
import { asLines } from "../../lib/timeline";
import { Button, pressed } from "../button";
import { Icon } from "../icon";

/** Has the browser save a text as a file. */
function save(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

type Props = {
  id: string;
  events: RunEvent[];
  /** Whether these are all of them. */
  whole: boolean;
};

/** A run as programs read it. */
export function Downloads({ id, events, whole }: Props) {
  return (
    <div className="flex flex-wrap items-center gap-2">
      <a href={`/api/v1/runs/${encodeURIComponent(id)}`} download={`${id}.json`} className={pressed("plain")}>
        <Icon name="save" />
        Run, JSON
      </a>
      <Button icon="save" disabled={!whole} onClick={() => save(`${id}.jsonl`, asLines(events))}>
        Events, JSON lines
      </Button>
      {!whole && <span className="text-ink-soft">Its events can be saved once all are here.</span>}
    </div>
  );
}
