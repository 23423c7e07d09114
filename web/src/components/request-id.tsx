import { CopyIcon } from "./copy";

/** The id under which the server's log has a request. */
export function RequestId({ children }: { children: string }) {
  return (
    <p className="flex flex-wrap items-center gap-x-1 text-xs text-ink-soft">
      Request <code className="break-all select-all">{children}</code>
      <CopyIcon text={children} what="the request's id" className="size-6 pointer-coarse:size-11" />
    </p>
  );
}
