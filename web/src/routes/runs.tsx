import { Page } from "../components/page";

/** To come. */
export function Runs() {
  return (
    <Page title="Runs" width="text">
      <p className="text-ink-soft">This page is to come.</p>
    </Page>
  );
}
