import { bytes } from "../../lib/text";
import { Button, IconButton } from "../button";
import { Icon } from "../icon";

/** The most that a file may have, and all of them: what the server takes, and its body's limit as base64. */
export const FILE_MAX = 10 * 1024 * 1024;
export const FILES_MAX = 23 * 1024 * 1024;

/** What is wrong with these files, if anything. */
export function wrongWith(files: File[]): string | null {
  const large = files.find((file) => file.size > FILE_MAX);
  if (large) return `\`${large.name}\` has ${bytes(large.size)}: a file may have 10 MB.`;
  const all = files.reduce((sum, file) => sum + file.size, 0);
  return all > FILES_MAX ? `The files have ${bytes(all)} together: 23 MB can be sent at once.` : null;
}

/** The files that go with the prompt. */
export function Files({ files, onRemove }: { files: File[]; onRemove: (file: File) => void }) {
  if (files.length === 0) return null;
  return (
    <ul aria-label="Files that go with it" className="flex flex-wrap gap-2">
      {files.map((file) => (
        <li key={file.name} className="flex max-w-full items-center gap-2 rounded-md border bg-well pl-2">
          <Icon name="file" className="text-ink-faint" />
          <span className="min-w-0 truncate">{file.name}</span>
          <span className="figures shrink-0 text-xs text-ink-soft">{bytes(file.size)}</span>
          <IconButton name="close" label={`Leave ${file.name} out`} onClick={() => onRemove(file)} />
        </li>
      ))}
    </ul>
  );
}

/** The files that a run was asked with and that are not chosen again yet: the server does not give them back. */
export function Wanted({ names, onWithout }: { names: string[]; onWithout: () => void }) {
  if (names.length === 0) return null;
  return (
    <div role="status" className="flex gap-2 text-ink-soft">
      <Icon name="wary" className="mt-0.5 text-wary" />
      <div className="min-w-0 space-y-1 break-words">
        <p>
          It was asked with{" "}
          {names.map((name, at) => (
            <span key={name}>
              {at > 0 && ", "}
              <code>{name}</code>
            </span>
          ))}
          : add {names.length > 1 ? "them" : "it"} again, the server does not give {names.length > 1 ? "them" : "it"}{" "}
          back.
        </p>
        <Button kind="quiet" className="-ml-2.5" onClick={onWithout}>
          Leave {names.length > 1 ? "them" : "it"} out
        </Button>
      </div>
    </div>
  );
}
