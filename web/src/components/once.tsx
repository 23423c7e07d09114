import { Button } from "./button";
import { CopyButton } from "./copy";

/** A secret that is shown this once. */
export function Once({ secret, what, onDone }: { secret: string; what: string; onDone: () => void }) {
  return (
    <div className="space-y-4">
      <p>This is the only time that {what} is shown. Copy it now, to where you keep such things.</p>
      <output className="block rounded-md border border-good bg-good-wash p-3 font-mono break-all select-all">
        {secret}
      </output>
      <div className="flex justify-end gap-2">
        <CopyButton text={secret} />
        <Button kind="main" onClick={onDone}>
          I have it
        </Button>
      </div>
    </div>
  );
}
