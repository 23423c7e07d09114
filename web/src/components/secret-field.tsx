import { type ComponentProps, type ReactNode, useState } from "react";
import { Button } from "./button";
import { Field } from "./field";

type Props = ComponentProps<"input"> & { label: string; hint?: ReactNode; wrong?: string | null };

/** A secret to paste: hidden, kept by no browser, shown while it is asked for. */
export function SecretField(props: Props) {
  const [shown, setShown] = useState(false);
  return (
    <div className="flex items-end gap-2">
      <div className="grow">
        <Field
          {...props}
          type={shown ? "text" : "password"}
          autoComplete="off"
          autoCapitalize="off"
          autoCorrect="off"
          spellCheck={false}
          data-1p-ignore
          className="font-mono"
        />
      </div>
      <Button kind="quiet" className="h-9" aria-pressed={shown} onClick={() => setShown(!shown)}>
        {shown ? "Hide" : "Show"}
      </Button>
    </div>
  );
}
