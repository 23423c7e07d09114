import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { api, take } from "../../api/client";
import { people } from "../../api/queries";
import type { components } from "../../api/schema";
import { Confirm } from "../confirm";
import { Empty } from "../empty";
import { Listed } from "../listed";
import { type Standing, Status } from "../status";
import { type Column, Table } from "../table";
import { Time } from "../time";
import { useNames, Who } from "./names";

type Sandbox = components["schemas"]["SandboxView"];

function standing(state: Sandbox["state"]): { is: Standing; word: string } {
  switch (state) {
    case "creating":
      return { is: "busy", word: "Being made" };
    case "ready":
      return { is: "good", word: "Stands" };
    case "stopping":
      return { is: "busy", word: "Being removed" };
    case "gone":
      return { is: "idle", word: "Gone" };
    case "failed":
      return { is: "bad", word: "Failed" };
  }
}

/** Everybody's sandboxes. */
export function Sandboxes() {
  const queryClient = useQueryClient();
  const sandboxes = useInfiniteQuery({ ...people.sandboxes(), refetchInterval: 5000 });
  const name = useNames();
  const destroy = async (id: string) => {
    await take(api.DELETE("/api/v1/sandboxes/{id}", { params: { path: { id } } }));
    await queryClient.invalidateQueries({ queryKey: ["sandboxes"] });
  };
  const columns: Column<Sandbox>[] = [
    { head: "Sandbox", whole: true, cell: ({ id }) => <code>{id}</code> },
    {
      head: "State",
      plain: true,
      cell: ({ state }) => {
        const { is, word } = standing(state);
        return <Status is={is}>{word}</Status>;
      },
    },
    {
      head: "Whose",
      plain: true,
      cell: ({ user_id }) =>
        user_id ? <Who>{name(user_id)}</Who> : <span className="text-ink-soft">nobody's yet</span>,
    },
    { head: "Run", soft: true, cell: ({ run_id }) => (run_id ? <code>{run_id}</code> : null) },
    { head: "Made", soft: true, cell: ({ created_at }) => <Time at={created_at} /> },
    { head: "Gone", soft: true, cell: ({ ended_at }) => (ended_at ? <Time at={ended_at} /> : null) },
    {
      head: "Actions",
      plain: true,
      className: "sm:text-right",
      cell: ({ id, state, run_id }) =>
        run_id && (state === "creating" || state === "ready") ? (
          <Confirm label="Destroy" of={id} title="Destroy this sandbox?" act="Destroy" onAct={() => destroy(id)}>
            The run in it fails.
          </Confirm>
        ) : (
          ""
        ),
    },
  ];
  return (
    <Listed
      query={sandboxes}
      title="Sandboxes cannot be shown"
      more="Older sandboxes"
      empty={<Empty title="There are none">Each run is given one, and they stand here.</Empty>}
    >
      {(items) => <Table title="Everybody's sandboxes" columns={columns} rows={items} id={({ id }) => id} />}
    </Listed>
  );
}
