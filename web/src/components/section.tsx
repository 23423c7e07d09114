import { type ReactNode, useId } from "react";

type Props = { title: string; beside?: ReactNode; anchor?: string; lead?: ReactNode; children: ReactNode };

/** A part of a page, with its title. */
export function Section({ title, beside, anchor, lead, children }: Props) {
  const id = useId();
  return (
    <section id={anchor} aria-labelledby={id} className="min-w-0 scroll-mt-6">
      <div className="mb-3 flex flex-wrap items-center justify-between gap-x-4 gap-y-2">
        <h2 id={id} className="text-lg">
          {title}
        </h2>
        {beside}
      </div>
      {lead && <p className="mb-4 max-w-prose text-ink-soft">{lead}</p>}
      {children}
    </section>
  );
}
