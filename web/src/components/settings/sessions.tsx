import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { api, take } from "../../api/client";
import { people } from "../../api/queries";
import type { components } from "../../api/schema";
import { browserName } from "../../lib/agent";
import { Confirm } from "../confirm";
import { Listed } from "../listed";
import { Status } from "../status";
import { type Column, Table } from "../table";
import { Time } from "../time";
import { Part } from "./part";

type Session = components["schemas"]["SessionView"];

/** Where one is signed in. */
export function Sessions() {
  const queryClient = useQueryClient();
  const sessions = useInfiniteQuery(people.sessions());
  const end = async (id: string) => {
    await take(api.DELETE("/api/v1/sessions/{id}", { params: { path: { id } } }));
    await queryClient.invalidateQueries({ queryKey: ["sessions"] });
  };
  const columns: Column<Session>[] = [
    {
      head: "Where",
      whole: true,
      cell: (session) => (
        <span className="flex flex-wrap items-center gap-x-3">
          <span className="font-medium" title={session.agent ?? undefined}>
            {browserName(session.agent)}
          </span>
          {session.current && <Status is="good">This one</Status>}
        </span>
      ),
    },
    { head: "Address", soft: true, cell: (session) => <code>{session.address ?? "unknown"}</code> },
    { head: "Signed in", soft: true, cell: (session) => <Time at={session.created_at} /> },
    { head: "Used", soft: true, cell: (session) => (session.last_used_at ? <Time at={session.last_used_at} /> : null) },
    { head: "Ends", soft: true, cell: (session) => (session.expires_at ? <Time at={session.expires_at} /> : null) },
    {
      head: "Actions",
      plain: true,
      className: "sm:text-right",
      cell: (session) =>
        session.current ? (
          ""
        ) : (
          <Confirm
            label="Sign out"
            of={browserName(session.agent)}
            title="Sign out there?"
            act="Sign out"
            onAct={() => end(session.id)}
          >
            That browser is let in no more, until somebody signs in there again.
          </Confirm>
        ),
    },
  ];
  return (
    <Part
      anchor="sessions"
      title="Sessions"
      lead="Where you are signed in. A session ends by itself a week after its last use."
    >
      <Listed query={sessions} title="Your sessions cannot be shown" more="Older sessions" empty={null}>
        {(items) => <Table title="Your sessions" columns={columns} rows={items} id={(session) => session.id} />}
      </Listed>
    </Part>
  );
}
