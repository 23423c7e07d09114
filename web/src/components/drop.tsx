import { type DragEvent, type ReactNode, useId, useState } from "react";
import { Icon } from "./icon";

type Props = {
  /** What is chosen, for those who cannot see where. */
  label: string;
  onFiles: (files: File[]) => void;
  multiple?: boolean;
  children: ReactNode;
};

/** A place to drop files on, or to choose them by. */
export function Drop({ label, onFiles, multiple = true, children }: Props) {
  const id = useId();
  const [over, setOver] = useState(false);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    onFiles([...event.dataTransfer.files]);
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: what is dropped here can be chosen by the field in it
    <div
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
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
