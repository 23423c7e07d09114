import type { InfiniteData, UseInfiniteQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Asked } from "./asked";
import { Button } from "./button";
import { ProblemNote } from "./problem-note";

type Props<T> = {
  query: UseInfiniteQueryResult<InfiniteData<{ items: T[] }>>;
  /** What cannot be shown where it does not come. */
  title: string;
  /** What stands there where there is nothing. */
  empty: ReactNode;
  /** What leads to the next page. */
  more: string;
  children: (items: T[]) => ReactNode;
};

/** A list of the server's, a page after the other. */
export function Listed<T>({ query, title, empty, more, children }: Props<T>) {
  return (
    <Asked query={query} title={title}>
      {({ pages }) => {
        const items = pages.flatMap((page) => page.items);
        if (items.length === 0) return empty;
        return (
          <>
            {children(items)}
            {query.isFetchNextPageError && (
              <ProblemNote problem={query.error} title="No more can be shown" className="mt-4" />
            )}
            {query.hasNextPage && (
              <Button
                className="mt-4"
                icon="down"
                busy={query.isFetchingNextPage}
                onClick={() => void query.fetchNextPage()}
              >
                {more}
              </Button>
            )}
          </>
        );
      }}
    </Asked>
  );
}
