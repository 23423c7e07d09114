import type { ReactNode } from "react";
import { Icon } from "./icon";

/** The host that a link leads to; null where it is none that a browser should be sent to. */
export function hostOf(href: string): string | null {
  try {
    const url = new URL(href);
    return url.protocol === "https:" || url.protocol === "http:" ? url.host : null;
  } catch {
    return null;
  }
}

/** A link to another server: it says which, opens beside this page, and tells that server nothing of it. */
export function OutLink({ href, children }: { href: string; children?: ReactNode }) {
  const host = hostOf(href);
  if (!host) return children;
  return (
    <a
      href={href}
      target="_blank"
      rel="noopener noreferrer nofollow"
      className="font-medium text-accent underline decoration-line underline-offset-4 transition-colors hover:decoration-accent"
    >
      {children ?? host}
      {/* A word joiner keeps the sign with the last word. */}
      <span className="whitespace-nowrap">
        {"\u2060"}
        <Icon name="outside" className="ml-1 inline size-3 align-baseline" />
      </span>
      <span className="unseen"> (opens in a new tab)</span>
    </a>
  );
}
