import { Page } from "../components/page";

/** To come. */
export function RunPage() {
  return (
    <Page title="Run" width="text">
      <p className="text-ink-soft">This page is to come.</p>
    </Page>
  );
}
