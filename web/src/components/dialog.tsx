import { type ReactNode, useEffect, useId, useRef } from "react";
import { IconButton } from "./button";

type Props = {
  open: boolean;
  title: string;
  onClose: () => void;
  children: ReactNode;
  /** Wider than for a few lines of text. */
  wide?: boolean;
};

/** A question before the page goes on: the browser's own dialog, which keeps the focus and closes with Escape. */
export function Dialog({ open, title, onClose, children, wide = false }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open) dialog.current?.close();
  }, [open]);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={id}
      onClose={onClose}
      className={`m-auto max-h-[calc(100dvh-2rem)] w-[calc(100vw-2rem)] rounded-md border bg-sheet p-0 text-ink ${wide ? "max-w-3xl" : "max-w-md"}`}
    >
      {open && (
        <div className="p-5">
          <div className="flex items-start justify-between gap-4">
            <h2 id={id} className="text-lg">
              {title}
            </h2>
            <IconButton name="close" label="Close" onClick={onClose} className="-mt-1 -mr-2" />
          </div>
          <div className="mt-3 space-y-4">{children}</div>
        </div>
      )}
    </dialog>
  );
}
