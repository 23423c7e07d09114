import { CopyIcon } from "./copy";

/** A command to type, and to copy. */
export function CommandLine({ children }: { children: string }) {
  return (
    <div className="flex items-center gap-2 rounded-md bg-well py-1 pr-1 pl-3">
      <code className="min-w-0 grow overflow-x-auto py-1 whitespace-pre">{children}</code>
      <CopyIcon text={children} what="the command" />
    </div>
  );
}
