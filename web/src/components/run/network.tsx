import { useQuery } from "@tanstack/react-query";
import { runQueries } from "../../api/queries";
import { bytes } from "../../lib/text";
import { Asked } from "../asked";
import { Status } from "../status";

/** What a run asked for and reached: names and bytes. */
export function NetworkSeen({ run, over }: { run: string; over: boolean }) {
  const network = useQuery({ ...runQueries.network(run), refetchInterval: over ? false : 3000 });
  return (
    <Asked query={network} title="Its network cannot be shown">
      {({ hosts }) =>
        hosts.length === 0 ? (
          <p className="text-ink-soft">It asked for nothing.</p>
        ) : (
          <ul className="divide-y">
            {hosts.map(({ host, connections, denied = 0, failed = 0, reason, bytes_up, bytes_down }) => (
              <li key={host} className="py-1.5">
                <div className="flex flex-wrap items-center justify-between gap-x-3">
                  <code className="min-w-0 break-all">{host}</code>
                  {denied > 0 ? (
                    <Status is="bad" className="text-xs">
                      Refused {denied > 1 && `${denied} times`}
                    </Status>
                  ) : failed > 0 && connections === 0 ? (
                    <Status is="wary" className="text-xs">
                      Not reached
                    </Status>
                  ) : (
                    <Status is="good" className="text-xs">
                      Reached
                    </Status>
                  )}
                </div>
                <p className="figures text-xs text-ink-soft">
                  {connections} {connections === 1 ? "connection" : "connections"}, {bytes(bytes_up)} out,{" "}
                  {bytes(bytes_down)} in
                </p>
                {reason && <p className="text-xs break-words text-ink-soft">{reason}</p>}
              </li>
            ))}
          </ul>
        )
      }
    </Asked>
  );
}
