import { Page } from "../components/page";

/** To come. */
export function Connect() {
  return (
    <Page title="Connect an account" width="text">
      <p className="text-ink-soft">This page is to come.</p>
    </Page>
  );
}
