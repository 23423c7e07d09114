import { useQuery } from "@tanstack/react-query";
import { queries } from "../api/queries";
import { Page } from "../components/page";
import { Keys } from "../components/settings/keys";
import { Look } from "../components/settings/look";
import { Password } from "../components/settings/password";
import { Sessions } from "../components/settings/sessions";
import { UsagePart } from "../components/settings/usage";

/** What is one's own: keys, sessions, password, look, usage. */
export function Settings() {
  const me = useQuery(queries.me()).data;
  return (
    <Page title="Settings" beside={<span className="break-all text-ink-soft">{me?.email}</span>}>
      <Keys />
      <UsagePart />
      <Sessions />
      <Password />
      <Look />
    </Page>
  );
}
