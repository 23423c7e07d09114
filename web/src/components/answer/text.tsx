import { lazy, Suspense } from "react";
import { part } from "../../api/part";

type Props = { text: string; growing: boolean };

/** An answer as it is written. */
const Plain = ({ text }: Props) => <div className="max-w-prose text-md break-words whitespace-pre-wrap">{text}</div>;

// Where what reads Markdown cannot be had any more, as after an upgrade, the answer can still be read.
const Markdown = lazy(() =>
  part(() => import("./markdown")).then(
    ({ Markdown }) => ({ default: Markdown }),
    () => ({ default: Plain }),
  ),
);

/** An answer: as it is written, until what reads Markdown is here. */
export function AnswerText(props: Props) {
  return (
    <Suspense fallback={<Plain {...props} />}>
      <Markdown {...props} />
    </Suspense>
  );
}
