import { Link } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import type { Connection, Provider } from "../../api/client";
import { byMethod } from "../../lib/methods";
import { pressed } from "../button";
import { CommandLine } from "../command-line";
import { Icon } from "../icon";

/** That it worked, and what next. */
export function Connected({ provider, connection }: { provider: Provider; connection: Connection }) {
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => title.current?.focus(), []);
  return (
    <section className="max-w-2xl space-y-6">
      <div className="flex gap-3 rounded-md border border-good bg-good-wash p-4">
        <Icon name="good" className="mt-1 text-good" />
        <div className="min-w-0">
          <h2 ref={title} tabIndex={-1} className="text-lg outline-none">
            Successfully connected
          </h2>
          <p className="break-words text-ink-soft">
            {provider.label}
            {connection.account && <> as {connection.account}</>}, {byMethod(connection.method)}. It is sealed on this
            server.
          </p>
        </div>
      </div>
      <div className="space-y-3">
        <h3 className="text-md">What next</h3>
        <div className="flex flex-wrap gap-2">
          <Link to="/playground" search={{ provider: provider.provider }} className={pressed("main")}>
            Ask it something
          </Link>
          <Link to="/settings" hash="keys" className={pressed("plain")}>
            Make a key for your programs
          </Link>
          <Link to="/" className={pressed("plain")}>
            To the dashboard
          </Link>
        </div>
        <p className="text-ink-soft">Or from a terminal, once you have a key:</p>
        <CommandLine>{`polydev run ${provider.provider} "What is 2+2?"`}</CommandLine>
      </div>
    </section>
  );
}
