import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { queries } from "../api/queries";
import { Asked } from "../components/asked";
import { pressed } from "../components/button";
import { Empty } from "../components/empty";
import { Page } from "../components/page";
import { ProviderCard } from "../components/provider-card";
import { RunTable } from "../components/run-table";

/** How many of the newest runs are shown. */
const RECENT = 8;

/** Everything at a glance: one's accounts, and what ran last. */
export function Dashboard() {
  return (
    <Page title="Dashboard">
      <div className="space-y-10">
        <Accounts />
        <RecentRuns />
      </div>
    </Page>
  );
}

function Accounts() {
  const providers = useQuery(queries.providers());
  const connections = useQuery(queries.connections());
  return (
    <section aria-labelledby="accounts">
      <h2 id="accounts" className="mb-3 text-lg">
        Your accounts
      </h2>
      <Asked query={providers} title="The providers cannot be shown">
        {(all) => (
          <Asked query={connections} title="Your accounts cannot be shown">
            {(mine) => (
              <div className="grid grid-cols-[repeat(auto-fit,minmax(min(100%,19rem),1fr))] gap-4">
                {all.map((provider) => (
                  <ProviderCard
                    key={provider.provider}
                    provider={provider}
                    connection={mine.find((connection) => connection.provider === provider.provider)}
                  />
                ))}
              </div>
            )}
          </Asked>
        )}
      </Asked>
    </section>
  );
}

function RecentRuns() {
  const runs = useInfiniteQuery(queries.runs({ limit: RECENT }));
  return (
    <section aria-labelledby="recent">
      <div className="mb-3 flex items-center justify-between gap-4">
        <h2 id="recent" className="text-lg">
          Recent runs
        </h2>
        <Link to="/runs" className={pressed("quiet", "-mr-2.5")}>
          All runs
        </Link>
      </div>
      <Asked query={runs} title="Your runs cannot be shown">
        {({ pages }) => {
          const items = pages[0]?.items ?? [];
          if (items.length > 0) return <RunTable title="Recent runs" runs={items} />;
          return (
            <Empty title="Nothing ran yet">
              <p>
                Once an account is connected, ask it something in the{" "}
                <Link to="/playground" className="font-medium text-accent underline underline-offset-4">
                  playground
                </Link>
                , or from a program with an API key of yours. Each prompt is a run, and stands here.
              </p>
            </Empty>
          );
        }}
      </Asked>
    </section>
  );
}
