import { Link } from "@tanstack/react-router";
import { pressed } from "./button";

/** The way to a connection that works, where what went wrong is that there is none. */
export function Reconnect({ code, provider }: { code: string; provider: string }) {
  if (code !== "needs_reconnect" && code !== "not_connected") return null;
  return (
    <Link to="/connect/$provider" params={{ provider }} className={pressed("plain")}>
      {code === "not_connected" ? "Connect" : "Reconnect"}
    </Link>
  );
}
