import type { ReactNode } from "react";
import { Icon } from "./icon";

/** What is shown on request. */
export function Fold({ summary, children, open = false }: { summary: ReactNode; children: ReactNode; open?: boolean }) {
  return (
    <details open={open} className="group/fold">
      <summary className="flex min-h-8 items-center gap-2 rounded-sm py-1 pointer-coarse:min-h-11">
        <Icon name="next" className="text-ink-faint transition-transform group-open/fold:rotate-90" />
        {summary}
      </summary>
      <div className="pb-2 pl-6">{children}</div>
    </details>
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
