import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { people } from "../../api/queries";
import type { components } from "../../api/schema";
import { bytes, count } from "../../lib/text";
import { Asked } from "../asked";
import { Said } from "../said";
import { Section } from "../section";
import { Status } from "../status";
import { Time } from "../time";

type ServerStatus = components["schemas"]["ServerStatus"];
type CheckView = components["schemas"]["CheckView"];

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex items-baseline justify-between gap-4 py-1.5">
      <dt className="text-ink-faint">{name}</dt>
      <dd className="figures text-right">{children}</dd>
    </div>
  );
}

/** How the server itself is. */
export function HostView() {
  const status = useQuery({ ...people.status(), refetchInterval: 10_000 });
  return (
    <Asked query={status} title="The server's state cannot be shown">
      {(status) => (
        <div className="grid gap-x-10 gap-y-8 lg:grid-cols-2">
          <Facts status={status} />
          {status.checks && <Checks checks={status.checks} />}
        </div>
      )}
    </Asked>
  );
}

function Facts({ status: { version, started_at, driver, everybody, disk, vault } }: { status: ServerStatus }) {
  return (
    <Section title="Now">
      <dl className="divide-y border-y">
        <Fact name="Version">{version}</Fact>
        <Fact name="Running since">
          <Time at={started_at} />
        </Fact>
        <Fact name="Sandboxes are made by">
          <code>{driver}</code>
        </Fact>
        {everybody && (
          <>
            <Fact name="Runs under way">{count(everybody.runs.running)}</Fact>
            <Fact name="Runs that wait">{count(everybody.runs.queued)}</Fact>
            <Fact name="Sandboxes that stand">{count(everybody.sandboxes)}</Fact>
          </>
        )}
        {disk && (
          <>
            <Fact name="Free on its disk">
              {disk.nearly_full && (
                <Status is="bad" className="mr-2">
                  Nearly full
                </Status>
              )}
              {bytes(disk.free_bytes)} of {bytes(disk.total_bytes)}
            </Fact>
            <Fact name="Database">{bytes(disk.database_bytes)}</Fact>
            <Fact name="Images">{bytes(disk.images_bytes)}</Fact>
          </>
        )}
        {vault && (
          <Fact name="Master key">
            <code>{vault.key_id ?? "none yet"}</code>
            {vault.unopened > 0 && (
              <Status is="bad" className="ml-2">
                {vault.unopened} cannot be opened
              </Status>
            )}
          </Fact>
        )}
      </dl>
    </Section>
  );
}

function Checks({ checks }: { checks: CheckView[] }) {
  return (
    <Section title="What it found of its host">
      <ul className="divide-y border-y">
        {checks.map(({ name, ok, finding, hint }) => (
          <li key={name} className="space-y-1 py-2">
            <div className="flex items-baseline justify-between gap-4">
              <code>{name}</code>
              {ok === true && <Status is="good">Well</Status>}
              {ok === false && <Status is="wary">Look at it</Status>}
              {ok === null && <Status is="idle">Cannot be told</Status>}
            </div>
            <div className="break-words">
              <Said message={finding} hint={hint} />
            </div>
          </li>
        ))}
      </ul>
    </Section>
  );
}
