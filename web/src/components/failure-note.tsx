import type { ReactNode } from "react";
import type { Failure } from "../api/client";
import { Icon } from "./icon";
import { RequestId } from "./request-id";
import { Said } from "./said";
import { Time } from "./time";

/** Why a run did not get to its end, and what to do. */
export function FailureNote({ failure, children }: { failure: Failure; children?: ReactNode }) {
  const interrupted = failure.code === "interrupted";
  return (
    <div
      className={`flex gap-3 rounded-md border p-3 ${interrupted ? "border-wary bg-wary-wash" : "border-bad bg-bad-wash"}`}
    >
      <Icon name={interrupted ? "wary" : "bad"} className={`mt-0.5 ${interrupted ? "text-wary" : "text-bad"}`} />
      <div className="min-w-0 grow space-y-1 break-words">
        <p className="font-bold">{interrupted ? "Interrupted" : "It failed"}</p>
        <Said message={failure.message} hint={failure.hint} />
        {failure.retry_at && (
          <p className="text-ink-soft">
            The provider takes more <Time at={failure.retry_at} />.
          </p>
        )}
        <p className="text-xs text-ink-soft">
          <code>{failure.code}</code>
        </p>
        {failure.request_id && <RequestId>{failure.request_id}</RequestId>}
        {children && <div className="flex flex-wrap gap-2 pt-1">{children}</div>}
      </div>
    </div>
  );
}
