import { useInfiniteQuery } from "@tanstack/react-query";
import type { Run } from "../../api/client";
import { queries } from "../../api/queries";
import { isOver } from "../../lib/fold";
import { ofRun } from "../../lib/standing";
import { count } from "../../lib/text";
import { duration } from "../../lib/time";
import { Empty } from "../empty";
import { Listed } from "../listed";
import { RunStop } from "../run-stop";
import { Status } from "../status";
import { type Column, Table } from "../table";
import { Time } from "../time";
import { useNames, Who } from "./names";

/** Everybody's runs, without what they are about. */
export function AllRuns() {
  // One is told of one's own changes only.
  const runs = useInfiniteQuery({ ...queries.runs({ user_id: "all" }), refetchInterval: 5000 });
  const name = useNames();
  const columns: Column<Run>[] = [
    { head: "Run", whole: true, cell: (run) => <code>{run.id}</code> },
    { head: "Whose", plain: true, cell: (run) => <Who>{name(run.user_id)}</Who> },
    {
      head: "State",
      plain: true,
      cell: (run) => {
        const { is, word } = ofRun(run.status, run.error?.code);
        return <Status is={is}>{word}</Status>;
      },
    },
    { head: "Provider", soft: true, plain: true, cell: (run) => run.provider },
    {
      head: "Tokens",
      soft: true,
      className: "figures sm:text-right",
      cell: (run) => (run.usage ? count(run.usage.input_tokens + run.usage.output_tokens) : null),
    },
    {
      head: "Took",
      soft: true,
      className: "figures sm:text-right",
      cell: (run) => (run.duration_ms == null ? null : duration(run.duration_ms)),
    },
    { head: "When", soft: true, plain: true, cell: (run) => <Time at={run.created_at} /> },
    {
      head: "Actions",
      plain: true,
      className: "sm:text-right",
      cell: (run) => (isOver(run.status) ? "" : <RunStop id={run.id} />),
    },
  ];
  return (
    <Listed
      query={runs}
      title="Runs cannot be shown"
      more="Older runs"
      empty={<Empty title="Nothing ran yet">Everybody's runs stand here, without what they are about.</Empty>}
    >
      {(items) => <Table title="Everybody's runs" columns={columns} rows={items} id={(run) => run.id} />}
    </Listed>
  );
}
