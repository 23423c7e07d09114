import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api, take } from "../../api/client";
import { people, queries } from "../../api/queries";
import type { components } from "../../api/schema";
import { Button } from "../button";
import { Confirm } from "../confirm";
import { Listed } from "../listed";
import { ProblemNote } from "../problem-note";
import { Status } from "../status";
import { type Column, Table } from "../table";
import { Time } from "../time";
import { AddPerson } from "./add-person";

type Person = components["schemas"]["UserView"];

/** Who may use the server. */
export function People() {
  const queryClient = useQueryClient();
  const me = useQuery(queries.me()).data;
  const users = useInfiniteQuery(people.users());
  const change = useMutation({
    mutationFn: ({ id, ...body }: { id: string; disabled?: boolean; role?: Person["role"] }) =>
      take(api.PATCH("/api/v1/users/{id}", { params: { path: { id } }, body })),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ["users"] }),
  });
  const columns: Column<Person>[] = [
    {
      head: "Who",
      whole: true,
      cell: ({ id, email }) => (
        <span className="font-medium break-all">
          {email}
          {id === me?.id && <span className="font-normal text-ink-soft"> (you)</span>}
        </span>
      ),
    },
    { head: "Role", plain: true, cell: ({ role }) => (role === "admin" ? "Admin" : "Member") },
    {
      head: "State",
      plain: true,
      cell: ({ disabled_at }) =>
        disabled_at ? <Status is="idle">Switched off</Status> : <Status is="good">Let in</Status>,
    },
    { head: "Added", soft: true, cell: ({ created_at }) => <Time at={created_at} /> },
    {
      head: "Actions",
      plain: true,
      className: "sm:text-right",
      cell: (person) =>
        person.id === me?.id ? (
          ""
        ) : (
          <span className="flex flex-wrap gap-1 sm:justify-end">
            <Button
              kind="quiet"
              busy={change.isPending && change.variables.id === person.id && change.variables.role !== undefined}
              aria-label={`Make ${person.role === "admin" ? "a member" : "an admin"}: ${person.email}`}
              onClick={() => change.mutate({ id: person.id, role: person.role === "admin" ? "member" : "admin" })}
            >
              {person.role === "admin" ? "Make a member" : "Make an admin"}
            </Button>
            {person.disabled_at ? (
              <Button
                kind="quiet"
                busy={change.isPending && change.variables.id === person.id}
                aria-label={`Switch on: ${person.email}`}
                onClick={() => change.mutate({ id: person.id, disabled: false })}
              >
                Switch on
              </Button>
            ) : (
              <Confirm
                label="Switch off"
                of={person.email}
                title={`Switch ${person.email} off?`}
                act="Switch off"
                onAct={() => change.mutateAsync({ id: person.id, disabled: true })}
              >
                Nothing lets them in any more, their keys included, and their runs are stopped. Their accounts and runs
                stay, and they can be switched on again.
              </Confirm>
            )}
            {change.isError && change.variables.id === person.id && change.variables.disabled !== true && (
              <ProblemNote problem={change.error} title="It is as it was" className="w-full text-left" />
            )}
          </span>
        ),
    },
  ];
  return (
    <div className="space-y-4">
      <AddPerson />
      <Listed query={users} title="People cannot be shown" more="More people" empty={null}>
        {(items) => <Table title="People" columns={columns} rows={items} id={({ id }) => id} />}
      </Listed>
    </div>
  );
}
