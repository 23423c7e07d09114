import { Link } from "@tanstack/react-router";
import { pressed } from "../components/button";
import { Page } from "../components/page";

/** A login in a desktop. Its stages, the desktop and its end come with the server's own part of it. */
export function Login() {
  return (
    <Page title="There is no such login" width="text">
      <p className="text-ink-soft">
        A login stands here while you sign in at a provider, in a desktop of your own. This one is over, another
        person's, or was never begun: this server cannot do it yet.
      </p>
      <Link to="/" className={pressed("plain", "mt-4")}>
        To the dashboard
      </Link>
    </Page>
  );
}
