import { Link } from "@tanstack/react-router";
import { pressed } from "../components/button";
import { Page } from "../components/page";

/** There is no such page. */
export function NotFound() {
  return (
    <Page title="There is nothing here" width="text">
      <p className="text-ink-soft">No page has this address. It may have been cut when it was copied.</p>
      <Link to="/" className={pressed("plain", "mt-4")}>
        To the dashboard
      </Link>
    </Page>
  );
}
