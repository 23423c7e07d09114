import { sentence } from "../lib/text";
import { Words } from "./words";

type Props = {
  message: string | null | undefined;
  hint: string | null | undefined;
  /** What the message has beside the text of the page. */
  className?: string;
};

/** What happened, and below it what to do, each as a sentence. */
export function Said({ message, hint, className }: Props) {
  return (
    <>
      {message && (
        <p className={className}>
          <Words>{sentence(message)}</Words>
        </p>
      )}
      {hint && (
        <p className="text-ink-soft">
          <Words>{sentence(hint)}</Words>
        </p>
      )}
    </>
  );
}
