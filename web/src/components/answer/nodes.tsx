import type { AlignType, Definition, PhrasingContent, RootContent, Table, TableCell } from "mdast";
import type { ReactNode } from "react";
import { Icon } from "../icon";
import { hostOf, OutLink } from "../out-link";
import { Code } from "./code";

/** What a node is shown in. */
export type Around = {
  definitions: Map<string, Definition>;
  /** It is the last one of a text that still grows. */
  growing: boolean;
};

type Node = RootContent | PhrasingContent;

/** These nodes as elements. There is no HTML: what is written as such is shown as it is written. */
export function Nodes({ of, around }: { of: Node[]; around: Around }): ReactNode {
  // biome-ignore lint/suspicious/noArrayIndexKey: a text that grows leaves what came before in its place
  return of.map((node, at) => <One key={at} node={node} around={around} />);
}

function One({ node, around }: { node: Node; around: Around }): ReactNode {
  const inside = "children" in node ? <Nodes of={node.children as Node[]} around={around} /> : null;
  switch (node.type) {
    case "text":
      return node.value;
    case "paragraph":
      return <p className="my-3">{inside}</p>;
    case "heading":
      return <Heading depth={node.depth}>{inside}</Heading>;
    case "strong":
      return <strong className="font-bold">{inside}</strong>;
    case "emphasis":
      return <em>{inside}</em>;
    case "delete":
      return <del>{inside}</del>;
    case "inlineCode":
      return <code className="rounded-sm bg-well px-1 py-px break-words">{node.value}</code>;
    case "code":
      return <Code code={node.value} language={node.lang} growing={around.growing} />;
    case "html":
      return <code className="break-words whitespace-pre-wrap text-ink-soft">{node.value}</code>;
    case "break":
      return <br />;
    case "thematicBreak":
      return <hr className="my-6" />;
    case "blockquote":
      return <blockquote className="my-3 border-l-2 border-edge pl-4 text-ink-soft">{inside}</blockquote>;
    case "list":
      return node.ordered ? (
        <ol start={node.start ?? 1} className="my-3 list-decimal space-y-1 pl-6 marker:text-ink-faint">
          {inside}
        </ol>
      ) : (
        <ul className="my-3 list-disc space-y-1 pl-6 marker:text-ink-faint">{inside}</ul>
      );
    case "listItem":
      return (
        <li className={`[&>p]:my-1 ${typeof node.checked === "boolean" ? "-ml-6 flex list-none gap-2" : ""}`}>
          {typeof node.checked === "boolean" && (
            <span className="mt-1">
              <Icon name={node.checked ? "good" : "open"} className={node.checked ? "text-good" : "text-ink-faint"} />
              <span className="unseen">{node.checked ? "Done:" : "Open:"}</span>
            </span>
          )}
          {typeof node.checked === "boolean" ? <div className="min-w-0 [&>p]:my-0">{inside}</div> : inside}
        </li>
      );
    case "link":
      return (
        <Link href={node.url} shown={plainText(node.children)}>
          {inside}
        </Link>
      );
    case "linkReference":
      return <Link href={around.definitions.get(node.identifier)?.url ?? ""}>{inside}</Link>;
    case "image":
      return <Image url={node.url} alt={node.alt} />;
    case "imageReference":
      return <Image url={around.definitions.get(node.identifier)?.url ?? ""} alt={node.alt} />;
    case "table":
      return <Grid table={node} around={around} />;
    case "footnoteReference":
      return <sup className="text-ink-soft">[{node.label ?? node.identifier}]</sup>;
    case "footnoteDefinition":
      return (
        <div className="my-3 flex gap-2 border-t pt-3 text-sm text-ink-soft [&_p]:my-0">
          <span>[{node.label ?? node.identifier}]</span>
          <div className="min-w-0">{inside}</div>
        </div>
      );
    case "definition":
    case "yaml":
      return null;
    case "tableRow":
    case "tableCell":
      return inside;
  }
}

/** A title in an answer: below the titles of the page, however it is written. */
function Heading({ depth, children }: { depth: number; children: ReactNode }) {
  const Tag = depth === 1 ? "h3" : depth === 2 ? "h4" : "h5";
  return <Tag className={`mt-6 mb-2 first:mt-0 ${depth === 1 ? "text-lg" : "text-md"}`}>{children}</Tag>;
}

const plainText = (nodes: PhrasingContent[]): string =>
  nodes.map((node) => ("value" in node ? node.value : "children" in node ? plainText(node.children) : "")).join("");

/** A link to where it says, with the host that it leads to; one that a browser should not follow is shown as it is written. */
function Link({ href, shown = "", children }: { href: string; shown?: string; children: ReactNode }) {
  const host = hostOf(href);
  if (host === null) {
    return (
      <>
        {children} {href !== "" && <code className="break-all text-ink-soft">({href})</code>}
      </>
    );
  }
  // Words that are the address itself tell the host, but where a name before it looks like one.
  if (new URL(href).username === "" && (shown === href || `http://${shown}` === href))
    return <OutLink href={href}>{children}</OutLink>;
  return (
    <>
      <OutLink href={href}>{children}</OutLink> <span className="text-sm wrap-anywhere text-ink-soft">({host})</span>
    </>
  );
}

/** An image is not loaded: whose it is would learn who looks. */
function Image({ url, alt }: { url: string; alt: string | null | undefined }) {
  return (
    <span className="rounded-sm border border-dashed px-1 text-sm text-ink-soft">
      Image{alt ? `: ${alt}` : ""}, not loaded <Link href={url}>show it</Link>
    </span>
  );
}

const ALIGN: Record<NonNullable<AlignType>, string> = { left: "text-left", right: "text-right", center: "text-center" };

function Grid({ table, around }: { table: Table; around: Around }) {
  const [head, ...rows] = table.children;
  const cell = (cell: TableCell, at: number, Tag: "th" | "td") => {
    const align = table.align?.[at];
    return (
      <Tag
        key={cell.position?.start.offset ?? at}
        scope={Tag === "th" ? "col" : undefined}
        className={`border-b px-3 py-1.5 align-top first:pl-0 ${align ? ALIGN[align] : "text-left"} ${Tag === "th" ? "font-bold" : ""}`}
      >
        <Nodes of={cell.children} around={around} />
      </Tag>
    );
  };
  return (
    <section aria-label="Table" tabIndex={0} className="my-4 overflow-x-auto">
      <table className="text-sm">
        {head && (
          <thead>
            <tr>{head.children.map((one, at) => cell(one, at, "th"))}</tr>
          </thead>
        )}
        <tbody>
          {rows.map((row, at) => (
            <tr key={row.position?.start.offset ?? at}>{row.children.map((one, at) => cell(one, at, "td"))}</tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
