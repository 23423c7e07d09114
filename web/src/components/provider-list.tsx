import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { queries } from "../api/queries";
import { ofConnection } from "../lib/standing";
import { Status } from "./status";

/** The providers and how one's connections to them stand, for the rail. */
export function ProviderList() {
  const providers = useQuery(queries.providers()).data ?? [];
  const connections = useQuery(queries.connections()).data;
  if (!connections || providers.length === 0) return null;
  return (
    <nav aria-labelledby="rail-accounts">
      <h2 id="rail-accounts" className="mb-1 px-2 text-xs font-medium text-ink-faint">
        Your accounts
      </h2>
      <ul className="space-y-0.5">
        {providers.map(({ provider, label }) => {
          const { is, word } = ofConnection(connections.find((connection) => connection.provider === provider));
          return (
            <li key={provider}>
              <Link
                to="/connect/$provider"
                params={{ provider }}
                className="flex min-h-8 items-center justify-between gap-2 rounded-md px-2 py-1 text-ink-soft transition-colors hover:bg-well hover:text-ink pointer-coarse:min-h-11"
                activeProps={{ className: "bg-well text-ink" }}
              >
                <span className="min-w-0 truncate">{label}</span>
                <Status is={is} className="text-xs">
                  {word}
                </Status>
              </Link>
            </li>
          );
        })}
      </ul>
    </nav>
  );
}
