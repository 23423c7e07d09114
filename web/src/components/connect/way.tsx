import { useLocation } from "@tanstack/react-router";
import { type ReactNode, useEffect, useId, useRef } from "react";
import { Icon, type IconName } from "../icon";

type Props = {
  /** Its place on the page, for links to it. */
  anchor: string;
  icon: IconName;
  title: string;
  /** When to take it. */
  when: string;
  children: ReactNode;
};

/** One way to connect. */
export function Way({ anchor, icon, title, when, children }: Props) {
  const id = useId();
  const place = useRef<HTMLElement>(null);
  const chosen = useLocation({ select: ({ hash }) => hash === anchor });
  // Who has chosen it goes on in it.
  useEffect(() => {
    if (chosen) place.current?.querySelector<HTMLElement>("input, button")?.focus();
  }, [chosen]);
  return (
    <section
      ref={place}
      id={anchor}
      aria-labelledby={id}
      className={`flex scroll-mt-20 flex-col rounded-md border bg-sheet p-4 ${chosen ? "border-accent" : ""}`}
    >
      <h2 id={id} className="flex items-center gap-2 text-md">
        <Icon name={icon} className="text-ink-faint" />
        {title}
      </h2>
      <p className="mt-1 text-ink-soft">{when}</p>
      <div className="mt-4 grow space-y-4">{children}</div>
    </section>
  );
}

/** What to do, in order. */
export function Steps({ children }: { children: ReactNode }) {
  return (
    <ol className="list-decimal space-y-3 pl-5 marker:text-ink-faint marker:[font-variant-numeric:tabular-nums]">
      {children}
    </ol>
  );
}
