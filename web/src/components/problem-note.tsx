import type { ReactNode } from "react";
import { asProblem } from "../api/problem";
import { Icon } from "./icon";
import { RequestId } from "./request-id";
import { Said } from "./said";
import { TryAgain } from "./time";

type Props = {
  /** What was thrown. */
  problem: unknown;
  /** What cannot be shown or done because of it, where that is not plain. */
  title?: string;
  /** What can be done about it here. */
  children?: ReactNode;
  className?: string;
};

/** What went wrong, what to do, and under which id the server's log has it. */
export function ProblemNote({ problem, title, children, className = "" }: Props) {
  const { message, hint, requestId, retryAt } = asProblem(problem);
  return (
    <div role="alert" className={`flex gap-3 rounded-md border border-bad bg-bad-wash p-3 text-ink ${className}`}>
      <Icon name="bad" className="mt-0.5 text-bad" />
      <div className="min-w-0 grow space-y-1 break-words">
        {title && <p className="font-bold">{title}</p>}
        <Said message={message} hint={hint} className={title ? "" : "font-medium"} />
        {retryAt && <TryAgain at={retryAt} />}
        {requestId && <RequestId>{requestId}</RequestId>}
        {children && <div className="flex flex-wrap gap-2 pt-1">{children}</div>}
      </div>
    </div>
  );
}
