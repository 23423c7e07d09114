import type { ReactNode } from "react";
import { Icon, type IconName } from "./icon";

/** How something stands. */
export type Standing = "good" | "wary" | "bad" | "idle" | "wait" | "busy";

const LOOKS: Record<Standing, { icon: IconName; colour: string }> = {
  good: { icon: "good", colour: "text-good" },
  wary: { icon: "wary", colour: "text-wary" },
  bad: { icon: "bad", colour: "text-bad" },
  idle: { icon: "idle", colour: "text-ink-faint" },
  wait: { icon: "wait", colour: "text-ink-soft" },
  busy: { icon: "busy", colour: "text-accent" },
};

/** A sign, and the word for it: never the colour alone. */
export function Status({ is, children, className = "" }: { is: Standing; children: ReactNode; className?: string }) {
  const { icon, colour } = LOOKS[is];
  return (
    <span className={`inline-flex items-baseline gap-1.5 font-medium whitespace-nowrap ${colour} ${className}`}>
      <Icon name={icon} className={`self-center ${is === "busy" ? "animate-spin" : ""}`} />
      {children}
    </span>
  );
}
