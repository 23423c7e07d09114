import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { api, take } from "../../api/client";
import { people, queries } from "../../api/queries";
import type { components } from "../../api/schema";
import { ALL_SCOPES } from "../../lib/scopes";
import { Confirm } from "../confirm";
import { Empty } from "../empty";
import { Listed } from "../listed";
import { Status } from "../status";
import { type Column, Table } from "../table";
import { Time } from "../time";
import { MakeKey } from "./make-key";
import { Part } from "./part";

type Key = components["schemas"]["KeyView"];

function standing({ revoked_at, expires_at }: Key) {
  if (revoked_at) return <Status is="idle">Revoked</Status>;
  if (expires_at && Date.parse(expires_at) <= Date.now()) return <Status is="idle">Ended</Status>;
  return <Status is="good">Good</Status>;
}

const what = ({ scopes }: Key) =>
  ALL_SCOPES.every((scope) => scope === "admin" || scopes.includes(scope))
    ? scopes.includes("admin")
      ? "everything"
      : "all but admin"
    : scopes.join(", ");

/** One's keys for programs. */
export function Keys() {
  const queryClient = useQueryClient();
  const me = useQuery(queries.me()).data;
  const keys = useInfiniteQuery(people.keys());
  const revoke = async (id: string) => {
    await take(api.DELETE("/api/v1/keys/{id}", { params: { path: { id } } }));
    await queryClient.invalidateQueries({ queryKey: ["keys"] });
  };
  const columns: Column<Key>[] = [
    {
      head: "Key",
      whole: true,
      cell: (key) => (
        <span className="break-words">
          <span className="font-medium">{key.name ?? "Without a name"}</span>{" "}
          <code className="text-ink-soft">{key.hint}</code>
        </span>
      ),
    },
    { head: "State", plain: true, cell: standing },
    { head: "May do", soft: true, cell: what },
    { head: "Made", soft: true, cell: (key) => <Time at={key.created_at} /> },
    { head: "Used", soft: true, cell: (key) => (key.last_used_at ? <Time at={key.last_used_at} /> : "never") },
    { head: "Ends", soft: true, cell: (key) => (key.expires_at ? <Time at={key.expires_at} /> : null) },
    {
      head: "Actions",
      plain: true,
      className: "sm:text-right",
      cell: (key) =>
        key.revoked_at ? (
          ""
        ) : (
          <Confirm
            label="Revoke"
            of={key.name ?? key.hint}
            title="Revoke this key?"
            act="Revoke"
            onAct={() => revoke(key.id)}
          >
            Whatever uses it is let in no more, at once and for good.
          </Confirm>
        ),
    },
  ];
  return (
    <Part
      anchor="keys"
      title="API keys"
      lead="A key lets a program of yours in, in your name. It is shown once, when it is made."
      beside={<MakeKey admin={me?.role === "admin"} />}
    >
      <Listed
        query={keys}
        title="Your keys cannot be shown"
        more="Older keys"
        empty={
          <Empty title="No keys yet">
            Make one, and your programs ask as you do: with <code>Authorization: Bearer pdv_…</code>.
          </Empty>
        }
      >
        {(items) => <Table title="Your API keys" columns={columns} rows={items} id={(key) => key.id} />}
      </Listed>
    </Part>
  );
}
