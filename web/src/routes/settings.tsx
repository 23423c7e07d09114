import { Page } from "../components/page";

/** To come. */
export function Settings() {
  return (
    <Page title="Settings" width="text">
      <p className="text-ink-soft">This page is to come.</p>
    </Page>
  );
}
