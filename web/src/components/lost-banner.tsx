import { useEffect } from "react";
import { reach } from "../api/live";
import { Problem } from "../api/problem";
import { announce } from "../lib/announce";
import { useStore } from "../lib/store";
import { sentence } from "../lib/text";
import { Icon } from "./icon";
import { Words } from "./words";

/** Says that the server does not answer, or does not tell of what changes, while that is so. */
export function LostBanner() {
  const now = useStore(reach);
  const lost = now === "lost";
  useEffect(() => {
    if (!lost) return;
    announce("The connection to the server is lost");
    return () => announce("The connection to the server is back");
  }, [lost]);
  if (!lost && !(now instanceof Problem)) return null;
  return (
    <section
      aria-label="The server"
      className="sticky top-0 z-20 flex items-center justify-center gap-2 border-b border-wary bg-wary-wash px-4 py-2"
    >
      <Icon name="lost" className="text-wary" />
      <span>
        {now instanceof Problem ? (
          <>
            <strong className="font-bold">What changes is not shown by itself.</strong>{" "}
            <Words>{`${sentence(now.message)} ${sentence(now.hint ?? "")}`}</Words>
          </>
        ) : (
          <>
            <strong className="font-bold">No connection to the server.</strong> It is tried again until it answers; what
            you see may be old.
          </>
        )}
      </span>
    </section>
  );
}
