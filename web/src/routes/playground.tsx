import { Page } from "../components/page";

/** To come. */
export function Playground() {
  return (
    <Page title="Playground" width="text">
      <p className="text-ink-soft">This page is to come.</p>
    </Page>
  );
}
