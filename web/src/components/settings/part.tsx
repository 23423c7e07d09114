import { type ReactNode, useId } from "react";

type Props = { anchor: string; title: string; lead: ReactNode; beside?: ReactNode; children: ReactNode };

/** A part of the settings: what it is about on one side, what there is on the other. */
export function Part({ anchor, title, lead, beside, children }: Props) {
  const id = useId();
  return (
    <section
      id={anchor}
      aria-labelledby={id}
      className="grid scroll-mt-4 gap-x-10 gap-y-4 border-t pt-6 pb-10 lg:grid-cols-[16rem_minmax(0,1fr)]"
    >
      <div className="space-y-2">
        <h2 id={id} className="text-lg">
          {title}
        </h2>
        <div className="max-w-prose text-ink-soft">{lead}</div>
        {beside && <div className="pt-2">{beside}</div>}
      </div>
      <div className="min-w-0">{children}</div>
    </section>
  );
}
