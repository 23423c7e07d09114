import type { ReactNode } from "react";

/** A column: in a narrow window, a part of its row. */
export type Column<T> = {
  head: string;
  /** What is in it; null where there is nothing to say. */
  cell: (row: T) => ReactNode;
  /** In a narrow window it takes a line of its own, and comes first. */
  whole?: boolean;
  /** It says by itself what it is: a narrow window shows it without its head. */
  plain?: boolean;
  /** It is beside the point: not in the strongest ink. */
  soft?: boolean;
  className?: string;
};

type Props<T> = {
  /** What it is a table of. */
  title: string;
  columns: Column<T>[];
  rows: T[];
  id: (row: T) => string;
};

/** Rows between hairlines. The roles are said in words: a browser takes them from a table that is laid out otherwise. */
export function Table<T>({ title, columns, rows, id }: Props<T>) {
  return (
    <table role="table" className="block w-full border-t text-left sm:table">
      <caption className="unseen">{title}</caption>
      <thead role="rowgroup" className="hidden sm:table-header-group">
        <tr role="row" className="border-b">
          {columns.map(({ head, className }) => (
            <th
              key={head}
              role="columnheader"
              scope="col"
              className={`py-2 pr-4 text-xs font-medium text-ink-faint last:pr-0 ${className ?? ""}`}
            >
              {head}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup" className="block sm:table-row-group">
        {rows.map((row) => (
          <tr
            key={id(row)}
            role="row"
            className="relative flex flex-wrap items-center gap-x-4 gap-y-1 border-b py-3 sm:table-row sm:py-0"
          >
            {columns.map(({ head, cell, whole, plain, soft, className }) => {
              const content = cell(row);
              // Nothing to say: a dash keeps the column's place, where there are columns.
              const nothing = content === null;
              return (
                <td
                  key={head}
                  role="cell"
                  className={`${nothing ? "hidden sm:table-cell" : ""} align-middle sm:h-11 sm:py-1.5 sm:pr-4 sm:last:pr-0 ${whole ? "order-first w-full sm:w-auto" : ""} ${soft ? "text-ink-soft" : ""} ${className ?? ""}`}
                >
                  {/* Where there are no columns, each says what it is of; of what is plain, only those who cannot see it are told. */}
                  <span className={`sm:hidden ${whole || plain ? "unseen" : "mr-1 text-xs text-ink-faint"}`}>
                    {head}{" "}
                  </span>
                  {nothing ? "–" : content}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
