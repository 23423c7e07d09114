import * as Radix from "@radix-ui/react-tabs";
import type { ReactNode } from "react";

type Tab<T extends string> = { value: T; label: string; content: ReactNode };

type Props<T extends string> = {
  /** What is chosen among them. */
  label: string;
  tabs: Tab<T>[];
  value: T;
  onValue: (value: T) => void;
};

/** Several views of one thing, one at a time. */
export function Tabs<T extends string>({ label, tabs, value, onValue }: Props<T>) {
  return (
    <Radix.Root value={value} onValueChange={(next) => onValue(next as T)}>
      <Radix.List aria-label={label} className="flex gap-5 overflow-x-auto border-b">
        {tabs.map(({ value, label }) => (
          <Radix.Trigger
            key={value}
            value={value}
            className="-mb-px h-9 shrink-0 border-b-2 border-transparent font-medium text-ink-soft outline-offset-[-2px] transition-colors hover:text-ink pointer-coarse:h-11 data-[state=active]:border-accent data-[state=active]:text-ink"
          >
            {label}
          </Radix.Trigger>
        ))}
      </Radix.List>
      {tabs.map(({ value, content }) => (
        <Radix.Content key={value} value={value} className="pt-4 outline-offset-4">
          {content}
        </Radix.Content>
      ))}
    </Radix.Root>
  );
}
