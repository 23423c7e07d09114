import type { ElementContent, RootContent } from "hast";
import { memo, type ReactNode, useMemo } from "react";
import { CopyIcon } from "../copy";
import { highlight } from "./highlight";

/** Code, with its language, and to be copied. What still grows is not highlighted yet. */
export const Code = memo(function Code({
  code,
  language,
  growing,
}: {
  code: string;
  language: string | null | undefined;
  growing: boolean;
}) {
  const tree = useMemo(() => (growing ? null : highlight(code, language)), [code, language, growing]);
  return (
    <figure className="my-4 overflow-hidden rounded-md border bg-well">
      <figcaption className="flex items-center justify-between border-b py-0.5 pr-1 pl-3 text-xs text-ink-soft">
        <span className="truncate">{language || "Text"}</span>
        <CopyIcon text={code} what="the code" />
      </figcaption>
      <pre tabIndex={0} className="overflow-x-auto p-3 text-sm outline-offset-[-2px]">
        <code className="code">{tree ? nodes(tree.children) : code}</code>
      </pre>
    </figure>
  );
});

function nodes(children: (RootContent | ElementContent)[]): ReactNode {
  return children.map((node, at) => {
    if (node.type === "text") return node.value;
    if (node.type !== "element") return null;
    const { className } = node.properties;
    return (
      // biome-ignore lint/suspicious/noArrayIndexKey: words of code have nothing but their place
      <span key={at} className={Array.isArray(className) ? className.join(" ") : undefined}>
        {nodes(node.children)}
      </span>
    );
  });
}
