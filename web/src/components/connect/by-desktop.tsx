import type { Provider } from "../../api/client";
import { Status } from "../status";
import { Way } from "./way";

/** Signing in with the provider's own page, in a desktop of one's own on the server. */
export function ByDesktop({ provider }: { provider: Provider }) {
  const offered = provider.methods.includes("login");
  return (
    <Way
      anchor="login"
      icon="desktop"
      title="Sign in, in a desktop"
      when={`Takes nothing but your ${provider.label} account: you sign in with its own tool, in a desktop of your own here.`}
    >
      <Status is="idle">{offered ? "Not in this page yet" : "Not on this server yet"}</Status>
      <p className="text-ink-soft">
        {offered
          ? "This server can do it, and this page cannot show it. Until it can, take one of the other ways."
          : "This server cannot do it yet. Until it can, take one of the other ways: they end up at the same connection."}
      </p>
    </Way>
  );
}
