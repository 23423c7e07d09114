import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { queries } from "../api/queries";
import { AllRuns } from "../components/admin/all-runs";
import { Audit } from "../components/admin/audit";
import { HostView } from "../components/admin/host";
import { People } from "../components/admin/people";
import { Sandboxes } from "../components/admin/sandboxes";
import { Empty } from "../components/empty";
import { Page } from "../components/page";
import { Tabs } from "../components/tabs";

/** The server and the people on it, for administrators. */
export function Admin() {
  const { view = "people" } = useSearch({ from: "/inside/admin" });
  const navigate = useNavigate({ from: "/admin" });
  const me = useQuery(queries.me()).data;
  if (me?.role !== "admin") {
    return (
      <Page title="Admin" width="text">
        <Empty title="This is for administrators">
          You are a member of this server. An administrator can make you one of them.
        </Empty>
      </Page>
    );
  }
  return (
    <Page title="Admin">
      <Tabs
        label="What to see"
        value={view}
        onValue={(view) => void navigate({ search: { view }, replace: true })}
        tabs={[
          { value: "people", label: "People", content: <People /> },
          { value: "runs", label: "Runs", content: <AllRuns /> },
          { value: "sandboxes", label: "Sandboxes", content: <Sandboxes /> },
          { value: "audit", label: "Record", content: <Audit /> },
          { value: "server", label: "Server", content: <HostView /> },
        ]}
      />
    </Page>
  );
}
