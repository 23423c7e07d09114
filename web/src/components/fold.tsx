import { type ComponentProps, type ReactNode, useState } from "react";
import { Icon } from "./icon";

/** A `details` whose inside is made once it is opened: there may be much of it, and many of them. */
export function Details({
  summary,
  children,
  open = false,
  ...rest
}: ComponentProps<"details"> & { summary: ReactNode }) {
  const [first] = useState(open);
  const [made, setMade] = useState(open);
  return (
    <details {...rest} open={first} onToggle={(event) => event.currentTarget.open && setMade(true)}>
      {summary}
      {made && children}
    </details>
  );
}

/** What is shown on request. */
export function Fold({ summary, children, open = false }: { summary: ReactNode; children: ReactNode; open?: boolean }) {
  return (
    <Details
      open={open}
      className="group/fold"
      summary={
        <summary className="flex min-h-8 items-center gap-2 rounded-sm py-1 pointer-coarse:min-h-11">
          <Icon name="next" className="text-ink-faint transition-transform group-open/fold:rotate-90" />
          {summary}
        </summary>
      }
    >
      <div className="pb-2 pl-6">{children}</div>
    </Details>
  );
}

/** What a machine said, as it said it. */
export function Verbatim({ children, label }: { children: string; label: string }) {
  return (
    <section aria-label={label}>
      <pre tabIndex={0} className="max-h-96 overflow-auto rounded-md border bg-well p-3 text-sm">
        {children}
      </pre>
    </section>
  );
}
