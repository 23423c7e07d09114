import { Page } from "../components/page";

/** To come. */
export function Admin() {
  return (
    <Page title="Admin" width="text">
      <p className="text-ink-soft">This page is to come.</p>
    </Page>
  );
}
