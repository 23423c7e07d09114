import type { ReactNode } from "react";

/** A place with nothing in it: what would be there, and how it gets there. */
export function Empty({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="border-y border-dashed py-8">
      <p className="font-bold">{title}</p>
      <div className="mt-1 max-w-prose text-ink-soft">{children}</div>
    </div>
  );
}
