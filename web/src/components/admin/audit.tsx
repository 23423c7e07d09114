import { useInfiniteQuery } from "@tanstack/react-query";
import { people } from "../../api/queries";
import type { components } from "../../api/schema";
import { Button } from "../button";
import { Listed } from "../listed";
import { Status } from "../status";
import { type Column, Table } from "../table";
import { Time } from "../time";
import { useNames, Who } from "./names";

type Entry = components["schemas"]["AuditEntry"];

function outcome({ outcome, code }: Entry) {
  if (outcome === "ok") return <Status is="good">Done</Status>;
  if (outcome === "failed") return <Status is="bad">{code ?? "failed"}</Status>;
  return <Status is="wary">Not known</Status>;
}

/** What was done, and by whom. */
export function Audit() {
  const audit = useInfiniteQuery(people.audit());
  const name = useNames();
  const columns: Column<Entry>[] = [
    { head: "What", whole: true, className: "font-medium", cell: ({ action }) => <code>{action}</code> },
    {
      head: "To",
      soft: true,
      className: "wrap-anywhere",
      cell: ({ target, detail }) => [target, detail].filter(Boolean).join(", ") || null,
    },
    {
      head: "By",
      cell: ({ actor }) => <Who>{actor.user_id ? name(actor.user_id) : actor.kind}</Who>,
    },
    { head: "From", soft: true, cell: ({ actor }) => (actor.address ? <code>{actor.address}</code> : null) },
    { head: "Went", plain: true, cell: outcome },
    { head: "When", soft: true, plain: true, cell: ({ created_at }) => <Time at={created_at} /> },
  ];
  return (
    <div className="space-y-4">
      <Button icon="again" busy={audit.isFetching} onClick={() => void audit.refetch()}>
        Look again
      </Button>
      <Listed query={audit} title="The record cannot be shown" more="Older entries" empty={null}>
        {(items) => <Table title="What was done" columns={columns} rows={items} id={({ id }) => id} />}
      </Listed>
    </div>
  );
}
