import { type ReactNode, useEffect } from "react";
import { Announcer } from "./announcer";
import { Mark } from "./mark";

/** What is around the pages before one is signed in: the form on one side, what this is on the other. */
export function Doorstep({ title, lead, children }: { title: string; lead: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Polydev`;
  }, [title]);
  return (
    <main className="mx-auto grid min-h-dvh w-full max-w-6xl content-center gap-x-16 gap-y-10 px-4 py-10 sm:px-8 md:grid-cols-[minmax(0,1fr)_24rem]">
      <div className="max-w-lg self-center">
        <Mark />
        <p className="mt-6 text-lg text-balance">Your own accounts with AI coding tools, as an API on this machine.</p>
        <ul className="mt-6 hidden space-y-3 border-l pl-4 text-ink-soft md:block">
          <li>
            Each prompt is answered by the provider's real tool, in a sandbox of its own that is destroyed afterwards.
          </li>
          <li>Your keys and logins are sealed here. They are shown to nobody, you included.</li>
          <li>Nothing leaves this machine but what goes to the provider that you ask.</li>
        </ul>
      </div>
      <section className="self-center">
        <h1 className="text-xl">{title}</h1>
        <div className="mt-2 text-ink-soft">{lead}</div>
        <div className="mt-6 space-y-4">{children}</div>
      </section>
      <Announcer />
    </main>
  );
}
