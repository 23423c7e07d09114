import type { ComponentProps, ReactNode } from "react";
import { Icon, type IconName } from "./icon";

type Kind = "main" | "plain" | "quiet" | "danger";

const KINDS: Record<Kind, string> = {
  main: "bg-accent text-on-accent hover:bg-accent-deep border-transparent",
  plain: "bg-sheet text-ink border-edge hover:bg-well",
  quiet: "text-accent border-transparent hover:bg-accent-wash",
  danger: "bg-sheet text-bad border-bad hover:bg-bad-wash",
};

/** How everything looks that is pressed: a button, or a link that does what a button does. */
export const pressed = (kind: Kind = "plain", more = "") =>
  `inline-flex items-center justify-center gap-2 h-8 px-2.5 pointer-coarse:h-11 rounded-md border text-sm font-medium ` +
  `whitespace-nowrap no-underline transition-colors disabled:opacity-55 disabled:pointer-events-none ` +
  `aria-disabled:opacity-55 ${KINDS[kind]} ${more}`;

type Props = Omit<ComponentProps<"button">, "children"> & {
  kind?: Kind;
  icon?: IconName;
  /** It works: it cannot be pressed again meanwhile, and says so. */
  busy?: boolean;
  children: ReactNode;
};

/** A button with words. */
export function Button({ kind = "plain", icon, busy = false, className, children, ...rest }: Props) {
  return (
    <button
      type="button"
      {...rest}
      className={pressed(kind, className)}
      aria-busy={busy || undefined}
      aria-disabled={busy || undefined}
      onClick={busy ? (event) => event.preventDefault() : rest.onClick}
    >
      {busy ? <Icon name="busy" className="animate-spin" /> : icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** A button that is a sign alone; its words are for those who cannot see it, and for the pointer. */
export function IconButton({
  name,
  label,
  className = "",
  ...rest
}: ComponentProps<"button"> & { name: IconName; label: string }) {
  return (
    <button
      type="button"
      {...rest}
      aria-label={label}
      title={label}
      className={`inline-flex items-center justify-center size-8 pointer-coarse:size-11 rounded-md text-ink-soft transition-colors hover:bg-well hover:text-ink disabled:opacity-55 ${className}`}
    >
      <Icon name={name} />
    </button>
  );
}
