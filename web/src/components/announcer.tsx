import { said } from "../lib/announce";
import { useStore } from "../lib/store";

/** Where a screen reader hears what changes without the focus. */
export function Announcer() {
  return (
    <div role="status" aria-live="polite" className="unseen">
      {useStore(said)}
    </div>
  );
}
