import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import type { RunStatus } from "../api/client";
import { queries } from "../api/queries";
import { Button, pressed } from "../components/button";
import { Empty } from "../components/empty";
import { Choice } from "../components/field";
import { Listed } from "../components/listed";
import { Page } from "../components/page";
import { RunTable } from "../components/run-table";
import { ofRun, STATUSES } from "../lib/standing";

/** One's own runs, newest first, as they come and go. */
export function Runs() {
  const { status, provider } = useSearch({ from: "/inside/runs" });
  const navigate = useNavigate({ from: "/runs" });
  const providers = useQuery(queries.providers()).data ?? [];
  const runs = useInfiniteQuery(queries.runs({ ...(status && { status }), ...(provider && { provider }) }));
  const filtered = status !== undefined || provider !== undefined;
  const choose = (search: { status?: RunStatus; provider?: string }) => void navigate({ search, replace: true });
  return (
    <Page title="Runs">
      <div className="mb-4 grid grid-cols-2 gap-4 sm:flex sm:items-end">
        <div className="sm:w-44">
          <Choice
            label="State"
            value={status ?? ""}
            onChange={(event) => choose({ provider, status: STATUSES.find((one) => one === event.target.value) })}
          >
            <option value="">All</option>
            {STATUSES.map((status) => (
              <option key={status} value={status}>
                {ofRun(status).word}
              </option>
            ))}
          </Choice>
        </div>
        <div className="sm:w-44">
          <Choice
            label="Provider"
            value={provider ?? ""}
            onChange={(event) => choose({ status, provider: event.target.value || undefined })}
          >
            <option value="">All</option>
            {providers.map(({ provider, label }) => (
              <option key={provider} value={provider}>
                {label}
              </option>
            ))}
          </Choice>
        </div>
        {filtered && (
          <Button kind="quiet" className="col-span-2 justify-self-start sm:h-9" onClick={() => choose({})}>
            Show all
          </Button>
        )}
      </div>
      <Listed
        query={runs}
        title="Your runs cannot be shown"
        more="Older runs"
        empty={filtered ? <NoneOfThese /> : <NoneYet />}
      >
        {(items) => <RunTable title="Your runs" runs={items} />}
      </Listed>
    </Page>
  );
}

function NoneYet() {
  return (
    <Empty title="Nothing ran yet">
      <p>Each prompt that you give to a provider is a run, and stands here: from this page, a terminal or a program.</p>
      <Link to="/playground" className={pressed("main", "mt-4")}>
        Ask something
      </Link>
    </Empty>
  );
}

function NoneOfThese() {
  return (
    <Empty title="No run is like this">
      <p>Choose another state or provider.</p>
    </Empty>
  );
}
