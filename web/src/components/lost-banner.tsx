import { useEffect } from "react";
import { reach } from "../api/live";
import { announce } from "../lib/announce";
import { useStore } from "../lib/store";
import { Icon } from "./icon";

/** Says that the server does not answer, while it does not. */
export function LostBanner() {
  const lost = useStore(reach) === "lost";
  useEffect(() => {
    if (!lost) return;
    announce("The connection to the server is lost");
    return () => announce("The connection to the server is back");
  }, [lost]);
  if (!lost) return null;
  return (
    <div className="sticky top-0 z-20 flex items-center justify-center gap-2 border-b border-wary bg-wary-wash px-4 py-2">
      <Icon name="lost" className="text-wary" />
      <span>
        <strong className="font-bold">No connection to the server.</strong> It is tried again until it answers; what you
        see may be old.
      </span>
    </div>
  );
}
