import { lazy, Suspense } from "react";

const Markdown = lazy(async () => ({ default: (await import("./markdown")).Markdown }));

/** An answer: as it is written, until what reads Markdown is here. */
export function AnswerText({ text, growing }: { text: string; growing: boolean }) {
  return (
    <Suspense fallback={<div className="max-w-prose text-md break-words whitespace-pre-wrap">{text}</div>}>
      <Markdown text={text} growing={growing} />
    </Suspense>
  );
}
