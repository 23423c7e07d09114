import { useQuery } from "@tanstack/react-query";
import { runQueries } from "../../api/queries";
import { Asked } from "../asked";
import { Button } from "../button";
import { Verbatim } from "../fold";

/** What a run's sandbox printed: for whoever looks for why it did not work. */
export function Console({ run, sandbox }: { run: string; sandbox: string | null }) {
  const console = useQuery({ ...runQueries.console(run, sandbox ?? ""), enabled: sandbox !== null });
  if (sandbox === null) return <p className="text-ink-soft">It has no sandbox yet.</p>;
  return (
    <Asked query={console} title="Its console cannot be shown">
      {(text) => (
        <div className="space-y-3">
          <p className="text-ink-soft">
            What sandbox <code>{sandbox}</code> printed when it began and ended. What the tool says is among the events.
          </p>
          {text === "" ? <p>It printed nothing.</p> : <Verbatim label="Console">{text}</Verbatim>}
          <Button icon="again" busy={console.isFetching} onClick={() => void console.refetch()}>
            Read it again
          </Button>
        </div>
      )}
    </Asked>
  );
}
