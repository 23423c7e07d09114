import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { asProblem } from "../api/problem";
import { Button } from "./button";
import { Icon } from "./icon";
import { ProblemNote } from "./problem-note";

/** That something is on its way. What is quick shows nothing. */
export function Loading({ children = "Loading" }: { children?: string }) {
  return (
    <p role="status" className="late flex items-center gap-2 py-4 text-ink-soft">
      <Icon name="busy" className="animate-spin" />
      {children}
    </p>
  );
}

type Props<T> = {
  query: Pick<UseQueryResult<T>, "data" | "error" | "isFetching" | "isRefetchError" | "refetch">;
  /** What cannot be shown where it does not come. */
  title: string;
  children: (data: T) => ReactNode;
};

/** What was asked of the server: on its way, there, or why not. What was there before stays while it is asked again. */
export function Asked<T>({ query, title, children }: Props<T>) {
  if (query.data !== undefined) {
    // That the server does not answer at all is said above the page.
    const old = query.isRefetchError && asProblem(query.error).code !== "unreachable";
    return (
      <>
        {old && <ProblemNote problem={query.error} title="What you see may be old" className="mb-4" />}
        {children(query.data)}
      </>
    );
  }
  if (!query.error) return <Loading />;
  return (
    <ProblemNote problem={asProblem(query.error)} title={title}>
      <Button icon="again" busy={query.isFetching} onClick={() => void query.refetch()}>
        Try again
      </Button>
    </ProblemNote>
  );
}
