import { useInfiniteQuery } from "@tanstack/react-query";
import { runQueries } from "../../api/queries";
import { bytes } from "../../lib/text";
import { Icon } from "../icon";
import { Listed } from "../listed";

/** Where a file of a run is downloaded from. */
const place = (run: string, path: string) =>
  `/api/v1/runs/${encodeURIComponent(run)}/files/${path.split("/").map(encodeURIComponent).join("/")}`;

/** What a run made or changed. */
export function FilesOut({ run, over }: { run: string; over: boolean }) {
  const files = useInfiniteQuery({ ...runQueries.files(run), enabled: over });
  if (!over) return <p className="text-ink-soft">What it makes is kept when it ends.</p>;
  return (
    <Listed
      query={files}
      title="Its files cannot be shown"
      more="More files"
      empty={<p className="text-ink-soft">It made no files, or was stopped before they were kept.</p>}
    >
      {(items) => (
        <ul className="divide-y">
          {items.map(({ path, size }) => (
            <li key={path} className="flex items-center gap-2 py-1.5">
              <Icon name="file" className="text-ink-faint" />
              <a
                href={place(run, path)}
                download
                className="min-w-0 grow break-all text-accent underline decoration-line underline-offset-4 hover:decoration-accent"
              >
                {path}
              </a>
              <span className="figures text-xs text-ink-soft">{bytes(size)}</span>
            </li>
          ))}
        </ul>
      )}
    </Listed>
  );
}
