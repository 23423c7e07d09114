import { Link } from "@tanstack/react-router";
import type { Run } from "../api/client";
import { ofRun } from "../lib/standing";
import { count, dollars, firstLine } from "../lib/text";
import { duration } from "../lib/time";
import { Status } from "./status";
import { type Column, Table } from "./table";
import { Time } from "./time";

const FIGURES = "figures whitespace-nowrap sm:text-right sm:w-0";

const COLUMNS: Column<Run>[] = [
  {
    head: "Prompt",
    whole: true,
    className: "max-w-full sm:max-w-0",
    cell: (run) => (
      <Link
        to="/runs/$id"
        params={{ id: run.id }}
        className="block truncate font-medium after:absolute after:inset-0 hover:text-accent"
      >
        {run.prompt === null || run.prompt === undefined ? <code>{run.id}</code> : firstLine(run.prompt) || "(empty)"}
      </Link>
    ),
  },
  {
    head: "State",
    plain: true,
    className: "sm:w-0",
    cell: (run) => {
      const { is, word } = ofRun(run.status, run.error?.code);
      return <Status is={is}>{word}</Status>;
    },
  },
  {
    head: "Provider",
    soft: true,
    plain: true,
    className: "whitespace-nowrap sm:w-0",
    cell: (run) => run.provider,
  },
  {
    head: "Model",
    soft: true,
    plain: true,
    className: "hidden whitespace-nowrap sm:w-0 lg:table-cell",
    cell: (run) => run.model ?? "default",
  },
  {
    head: "Tokens",
    soft: true,
    className: FIGURES,
    cell: (run) => (run.usage ? count(run.usage.input_tokens + run.usage.output_tokens) : null),
  },
  {
    head: "Cost",
    soft: true,
    className: FIGURES,
    cell: (run) => (run.usage?.cost_usd == null ? null : dollars(run.usage.cost_usd)),
  },
  {
    head: "Took",
    soft: true,
    className: FIGURES,
    cell: (run) => (run.duration_ms == null ? null : duration(run.duration_ms)),
  },
  {
    head: "When",
    soft: true,
    plain: true,
    className: FIGURES,
    // Above the link that lies over the row: the pointer is told the exact time.
    cell: (run) => <Time at={run.created_at} className="relative" />,
  },
];

/** Runs, one a line. */
export function RunTable({ title, runs }: { title: string; runs: Run[] }) {
  return <Table title={title} columns={COLUMNS} rows={runs} id={(run) => run.id} />;
}
