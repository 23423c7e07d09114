import { useInfiniteQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { people } from "../../api/queries";
import { count, dollars } from "../../lib/text";
import { byProvider, perDay, type Sum } from "../../lib/usage";
import { Empty } from "../empty";
import { Listed } from "../listed";
import { type Column, Table } from "../table";
import { Part } from "./part";

const DAYS = 30;

const FIGURES = "figures sm:text-right";

const COLUMNS: Column<Sum>[] = [
  { head: "Provider", whole: true, className: "font-medium", cell: (sum) => sum.provider },
  { head: "Runs", className: FIGURES, cell: (sum) => count(sum.runs) },
  { head: "Tokens in", className: FIGURES, cell: (sum) => count(sum.input) },
  { head: "Tokens out", className: FIGURES, cell: (sum) => count(sum.output) },
  { head: "Cost, where told", className: FIGURES, cell: (sum) => (sum.cost === null ? null : dollars(sum.cost)) },
];

/** What was used lately. */
export function UsagePart() {
  const usage = useInfiniteQuery(people.usage(DAYS));
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = usage;
  // A sum is of all pages.
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  return (
    <Part
      anchor="usage"
      title="Usage"
      lead={`What you used in the last ${DAYS} days, as the tools tell it. Days are UTC's.`}
    >
      <Listed
        query={usage}
        title="What you used cannot be shown"
        more="Earlier days"
        empty={<Empty title="Nothing yet">Each run counts on the day on which it was asked.</Empty>}
      >
        {(days) => (
          <div className="space-y-6">
            <Bars days={perDay(days, DAYS, Date.now())} />
            <Table title="By provider" columns={COLUMNS} rows={byProvider(days)} id={(sum) => sum.provider} />
          </div>
        )}
      </Listed>
    </Part>
  );
}

const HEIGHT = 64;
const WIDTH = 10;

/** Runs a day, as bars. What they show is in words too. */
function Bars({ days }: { days: { day: string; runs: number }[] }) {
  const most = Math.max(1, ...days.map(({ runs }) => runs));
  const all = days.reduce((sum, { runs }) => sum + runs, 0);
  const busiest = days.find(({ runs }) => runs === most);
  return (
    <figure>
      <svg
        viewBox={`0 0 ${days.length * WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        className="h-16 w-full border-b"
        role="img"
        aria-label={`Runs a day: ${all} in all, at most ${most}, on ${busiest?.day}.`}
      >
        {days.map(({ day, runs }, at) => (
          <rect
            key={day}
            x={at * WIDTH + 1}
            width={WIDTH - 2}
            y={HEIGHT - (runs / most) * HEIGHT}
            height={(runs / most) * HEIGHT}
            className="fill-accent"
          >
            <title>{`${day}: ${runs}`}</title>
          </rect>
        ))}
      </svg>
      <figcaption className="figures mt-1 flex justify-between text-xs text-ink-soft">
        <span>{days[0]?.day}</span>
        <span>
          {count(all)} runs, at most {count(most)} a day
        </span>
        <span>{days.at(-1)?.day}</span>
      </figcaption>
    </figure>
  );
}
