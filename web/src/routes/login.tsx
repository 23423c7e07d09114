import { Page } from "../components/page";

/** To come. */
export function Login() {
  return (
    <Page title="Signing in" width="text">
      <p className="text-ink-soft">This page is to come.</p>
    </Page>
  );
}
