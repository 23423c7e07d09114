import { codeParts } from "../lib/text";

/** A text of the server, in which `code` stands between backticks. */
export function Words({ children }: { children: string }) {
  return codeParts(children).map((part, at) =>
    part.code ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a text have nothing but their place
      <code key={at} className="rounded-sm bg-well px-1 py-px break-words">
        {part.text}
      </code>
    ) : (
      // biome-ignore lint/suspicious/noArrayIndexKey: as above
      <span key={at}>{part.text}</span>
    ),
  );
}
