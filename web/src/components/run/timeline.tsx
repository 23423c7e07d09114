import { useMemo } from "react";
import type { RunEvent } from "../../api/client";
import { firstLine } from "../../lib/text";
import { exact, offset } from "../../lib/time";
import { lines } from "../../lib/timeline";
import { Details, Verbatim } from "../fold";
import { Icon } from "../icon";

/** How many events are shown whole where a line of many is opened. */
const SHOWN = 200;

/** Every event of a run, on the run's own clock. */
export function Timeline({ events }: { events: RunEvent[] }) {
  const all = useMemo(() => lines(events), [events]);
  const from = all[0]?.at ?? 0;
  return (
    <ol aria-label="Events" className="border-t">
      {all.map(({ seq, at, type, events, gist }) => (
        <li key={seq} className="border-b">
          <Details
            className="group/line"
            summary={
              <summary className="grid grid-cols-[1rem_4.5rem_minmax(0,1fr)] items-baseline gap-x-3 py-1.5 sm:grid-cols-[1rem_5rem_9rem_minmax(0,1fr)] pointer-coarse:py-3">
                <Icon
                  name="next"
                  className="self-center text-ink-faint transition-transform group-open/line:rotate-90"
                />
                <time
                  dateTime={new Date(at).toISOString()}
                  title={exact(at)}
                  className="figures text-right text-xs text-ink-faint"
                >
                  {offset(at - from)}
                </time>
                <code className="truncate">{type}</code>
                <span className="col-start-3 truncate text-ink-soft sm:col-start-auto">{firstLine(gist, 300)}</span>
              </summary>
            }
          >
            <div className="pb-3 sm:pl-7">
              <Verbatim label={`Event ${seq}`}>
                {events
                  .slice(0, SHOWN)
                  .map((event) => JSON.stringify(event, null, events.length === 1 ? 2 : undefined))
                  .join("\n")}
              </Verbatim>
              {events.length > SHOWN && (
                <p className="mt-1 text-ink-soft">And {events.length - SHOWN} more: all are in the download.</p>
              )}
            </div>
          </Details>
        </li>
      ))}
    </ol>
  );
}
