import type { components } from "./schema";

/** Why something did not work, as the server says it; or that the server cannot be reached. */
export class Problem extends Error {
  /** The HTTP status; 0 where no answer came. */
  readonly status: number;
  /** A code of the API, or `unreachable`. */
  readonly code: string;
  /** What to do about it. */
  readonly hint: string | null;
  /** Under which id the server's log has it. */
  readonly requestId: string | null;
  /** When to try again, as RFC 3339. */
  readonly retryAt: string | null;

  constructor(
    status: number,
    code: string,
    message: string,
    more: { hint?: string | null; requestId?: string | null; retryAt?: string | null } = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = more.hint ?? null;
    this.requestId = more.requestId ?? null;
    this.retryAt = more.retryAt ?? null;
  }
}

/** No answer came. */
export const unreachable = () =>
  new Problem(0, "unreachable", "the server does not answer", {
    hint: "It may be restarting, or your network may be down. This page goes on by itself as soon as it answers.",
  });

/** What the body of an answer says that is no success. A proxy's own page is none of ours. */
export function problemOf(status: number, body: unknown, headers?: Headers): Problem {
  const wait = Number(headers?.get("retry-after") ?? Number.NaN);
  const retryAt = Number.isFinite(wait) ? new Date(Date.now() + wait * 1000).toISOString() : null;
  const error = (body as components["schemas"]["ErrorBody"] | undefined)?.error;
  if (typeof error?.message === "string") {
    return new Problem(status, error.code, error.message, {
      hint: error.hint,
      requestId: error.request_id,
      retryAt: error.retry_at ?? retryAt,
    });
  }
  if (status === 502 || status === 503 || status === 504) return unreachable();
  return new Problem(status, "internal", `the server answered with status ${status} and no reason`, {
    hint: "Something between this page and the server may have answered in its place.",
    retryAt,
  });
}

/** Anything that was thrown, as a problem. */
export function asProblem(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  return new Problem(0, "internal", thrown instanceof Error ? thrown.message : String(thrown), {
    hint: "This is a fault of the page. Reloading it may help.",
  });
}
