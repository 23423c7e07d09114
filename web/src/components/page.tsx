import { useRouterState } from "@tanstack/react-router";
import { type ReactNode, useEffect, useLayoutEffect, useRef } from "react";

/** The last page that was begun: a page that follows another one takes the focus, the first one does not. */
let before: string | null = null;

/** Whether a title had the focus when it went: what comes in the place of a page that was loading takes it over. */
let hadFocus = false;

type Props = {
  title: string;
  /** What the page is of, where that says more in a window's title. */
  windowTitle?: string;
  /** What stands beside the title. */
  beside?: ReactNode;
  /** How wide the lines may become. */
  width?: "text" | "work";
  children: ReactNode;
};

/** A page: its title in the window and on top, the focus where reading begins. */
export function Page({ title, windowTitle, beside, width = "work", children }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  // Where the router has arrived: a page that is about to go must not take it.
  const path = useRouterState({ select: (state) => state.resolvedLocation?.pathname });
  // Who goes to a place on a page goes on there.
  const place = useRouterState({ select: (state) => state.resolvedLocation?.hash });
  useEffect(() => {
    if (path === undefined) return;
    if (!place && (hadFocus || (before !== null && before !== path))) heading.current?.focus();
    hadFocus = false;
    before = path;
  }, [path, place]);
  useLayoutEffect(() => {
    const title = heading.current;
    return () => {
      hadFocus = document.activeElement === title;
    };
  }, []);
  useEffect(() => {
    document.title = `${windowTitle ?? title} · Polydev`;
  }, [title, windowTitle]);
  return (
    <div
      className={`mx-auto w-full px-4 py-6 sm:px-6 md:px-8 md:py-8 ${width === "text" ? "max-w-3xl" : "max-w-[100rem]"}`}
    >
      <header className="mb-6 flex flex-wrap items-center justify-between gap-x-6 gap-y-3">
        <h1 ref={heading} tabIndex={-1} className="min-w-0 text-xl break-words">
          {title}
        </h1>
        {beside}
      </header>
      {children}
    </div>
  );
}
