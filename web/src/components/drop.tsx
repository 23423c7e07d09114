import { type DragEvent, type ReactNode, useId, useState } from "react";
import { Icon } from "./icon";

type Props = {
  /** What is chosen, for those who cannot see where. */
  label: string;
  onFiles: (files: File[]) => void;
  multiple?: boolean;
  children: ReactNode;
};

/** Takes files that are dropped on an element, and nothing else: a text goes where it is dropped. */
export function useDrop(onFiles: (files: File[]) => void) {
  // Of the element and of what is in it: each is left for the next.
  const [over, setOver] = useState(0);
  const files = (event: DragEvent) => event.dataTransfer.types.includes("Files");
  return {
    over: over > 0,
    target: {
      onDragEnter: (event: DragEvent) => files(event) && setOver((depth) => depth + 1),
      onDragLeave: (event: DragEvent) => files(event) && setOver((depth) => Math.max(0, depth - 1)),
      onDragOver: (event: DragEvent) => files(event) && event.preventDefault(),
      onDrop: (event: DragEvent) => {
        setOver(0);
        if (!files(event)) return;
        event.preventDefault();
        onFiles([...event.dataTransfer.files]);
      },
    },
  };
}

/** A place to drop files on, or to choose them by. */
export function Drop({ label, onFiles, multiple = true, children }: Props) {
  const id = useId();
  const { over, target } = useDrop(onFiles);
  return (
    <div
      {...target}
      className={`relative rounded-md border border-dashed px-3 py-4 text-center has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent ${over ? "border-accent bg-accent-wash" : "border-edge"}`}
    >
      <label htmlFor={id} className="flex cursor-pointer flex-col items-center gap-1 text-ink-soft">
        <Icon name="file" />
        <span>{children}</span>
      </label>
      <input
        id={id}
        type="file"
        aria-label={label}
        multiple={multiple}
        className="absolute inset-0 cursor-pointer opacity-0"
        onChange={(event) => {
          onFiles([...(event.target.files ?? [])]);
          event.target.value = "";
        }}
      />
    </div>
  );
}
