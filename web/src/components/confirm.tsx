import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Button } from "./button";
import { Dialog } from "./dialog";
import { ProblemNote } from "./problem-note";

type Props = {
  /** What is pressed to be asked, and of what it is said. */
  label: string;
  of: string;
  title: string;
  /** What comes of it. */
  children: ReactNode;
  /** What is pressed to do it. */
  act: string;
  onAct: () => Promise<unknown>;
};

/** A button for what cannot be undone: it asks first. */
export function Confirm({ label, of, title, children, act, onAct }: Props) {
  const [open, setOpen] = useState(false);
  const doing = useMutation({ mutationFn: onAct, onSuccess: () => setOpen(false) });
  return (
    <>
      <Button
        kind="quiet"
        className="relative text-bad hover:bg-bad-wash"
        aria-label={`${label}: ${of}`}
        onClick={() => {
          doing.reset();
          setOpen(true);
        }}
      >
        {label}
      </Button>
      <Dialog open={open} title={title} onClose={() => setOpen(false)}>
        <div className="text-left whitespace-normal">{children}</div>
        {doing.isError && <ProblemNote problem={doing.error} />}
        <div className="flex justify-end gap-2">
          <Button onClick={() => setOpen(false)}>Leave it</Button>
          <Button kind="danger" busy={doing.isPending} onClick={() => doing.mutate()}>
            {act}
          </Button>
        </div>
      </Dialog>
    </>
  );
}
