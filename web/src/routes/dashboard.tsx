import { Page } from "../components/page";

/** Everything at a glance: one's accounts, and what ran last. */
export function Dashboard() {
  return <Page title="Dashboard">…</Page>;
}
