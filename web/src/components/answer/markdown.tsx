import type { Definition } from "mdast";
import { memo, useRef } from "react";
import { Nodes } from "./nodes";
import { type Block, definitions, EMPTY, parse } from "./parse";

/** An answer in Markdown. What it is from is not trusted: it becomes elements, and never HTML. */
export function Markdown({ text, growing }: { text: string; growing: boolean }) {
  const parsed = useRef(EMPTY);
  // Read anew only where it has grown.
  if (parsed.current.text !== text || (!growing && parsed.current.end > 0)) {
    parsed.current = parse(text, parsed.current, !growing);
  }
  const blocks = [...parsed.current.settled, ...parsed.current.open];
  const known = definitions(blocks);
  return (
    <div className="max-w-prose text-md break-words [&>*:first-child]:mt-0 [&>*:last-child]:mb-0">
      {blocks.map((block, at) => (
        <Shown key={block.key} block={block} known={known} growing={growing && at === blocks.length - 1} />
      ))}
    </div>
  );
}

type Props = { block: Block; known: Map<string, Definition>; growing: boolean };

/** A block, drawn again only where it has changed. */
const Shown = memo(
  function Shown({ block, known, growing }: Props) {
    return <Nodes of={[block.node]} around={{ definitions: known, growing }} />;
  },
  (before, after) =>
    before.block.source === after.block.source &&
    before.growing === after.growing &&
    before.known.size === after.known.size,
);
