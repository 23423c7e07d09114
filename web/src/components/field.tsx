import { type ComponentProps, type ReactNode, useId } from "react";
import { Words } from "./words";

const BOX =
  "w-full rounded-md border border-edge bg-sheet px-3 h-9 pointer-coarse:h-11 text-sm pointer-coarse:text-md " +
  "aria-invalid:border-bad disabled:opacity-55";

type Common = {
  label: string;
  /** What helps to fill it in. */
  hint?: ReactNode;
  /** What is wrong with what is in it. */
  wrong?: string | null;
};

function Around({ id, label, hint, wrong, children }: Common & { id: string; children: ReactNode }) {
  return (
    <div className="space-y-1">
      <label htmlFor={id} className="block font-medium">
        {label}
      </label>
      {children}
      {wrong ? (
        <p id={`${id}-wrong`} role="alert" className="text-bad">
          <Words>{wrong}</Words>
        </p>
      ) : (
        hint && (
          <p id={`${id}-hint`} className="text-ink-soft">
            {hint}
          </p>
        )
      )}
    </div>
  );
}

const told = (id: string, { hint, wrong }: Common) => ({
  "aria-describedby": wrong ? `${id}-wrong` : hint ? `${id}-hint` : undefined,
  "aria-invalid": wrong ? true : undefined,
});

/** A line to fill in, with its label. */
export function Field({ label, hint, wrong, className = "", ...rest }: Common & ComponentProps<"input">) {
  const id = useId();
  return (
    <Around id={id} label={label} hint={hint} wrong={wrong}>
      <input id={id} {...told(id, { label, hint, wrong })} {...rest} className={`${BOX} ${className}`} />
    </Around>
  );
}

/** A choice of one among a few, with its label. */
export function Choice({ label, hint, wrong, className = "", children, ...rest }: Common & ComponentProps<"select">) {
  const id = useId();
  return (
    <Around id={id} label={label} hint={hint} wrong={wrong}>
      <select id={id} {...told(id, { label, hint, wrong })} {...rest} className={`${BOX} pr-2 ${className}`}>
        {children}
      </select>
    </Around>
  );
}
