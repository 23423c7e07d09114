import type { Definition, RootContent } from "mdast";
import { fromMarkdown } from "mdast-util-from-markdown";
import { gfmFromMarkdown } from "mdast-util-gfm";
import { gfm } from "micromark-extension-gfm";

/** A block of a text in Markdown, and the text that it was read from: the same text is the same block. */
export type Block = { key: string; source: string; node: RootContent };

/** A text so far: blocks that more text does not change, where they end, and those that it may. */
export type Parsed = { text: string; settled: Block[]; end: number; open: Block[] };

export const EMPTY: Parsed = { text: "", settled: [], end: 0, open: [] };

/** Only what is read anew when more comes: the last block may go on, and the one before it may become one with it. */
const OPEN = 2;

/**
 * Reads a text, of which the beginning may have been read before. What refers to another place of the text is found in
 * the same reading only: once a text is whole it is read as a whole.
 */
export function parse(text: string, before: Parsed = EMPTY, whole = false): Parsed {
  const goesOn = !whole && text.startsWith(before.text) && before.text.length > 0;
  const from = goesOn ? before.end : 0;
  const settled = goesOn ? before.settled : [];
  const tree = fromMarkdown(text.slice(from), { extensions: [gfm()], mdastExtensions: [gfmFromMarkdown()] });
  const blocks = tree.children.map((node): Block => {
    const start = from + (node.position?.start.offset ?? 0);
    return { key: String(start), source: text.slice(start, from + (node.position?.end.offset ?? 0)), node };
  });
  const open = blocks.slice(-OPEN);
  const first = open[0];
  return {
    text,
    settled: [...settled, ...blocks.slice(0, -OPEN)],
    end: whole || !first ? from : Number(first.key),
    open,
  };
}

/** What link references of these blocks lead to: of two of a name, the first is meant. */
export function definitions(blocks: Block[]): Map<string, Definition> {
  const found = blocks.map(({ node }) => node).filter((node): node is Definition => node.type === "definition");
  return new Map(found.reverse().map((node) => [node.identifier, node]));
}
