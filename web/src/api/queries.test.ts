import { QueryClient as Queries } from "@tanstack/react-query";
import { beforeEach, expect, it, vi } from "vitest";

/** What a server has made, newest first, and what it was asked for. */
let sandboxes: { id: string; login_id: string }[];
let asked: string[];

beforeEach(() => {
  asked = [];
});

/** The server: each of its sandboxes printed its own id. */
async function server(request: Request): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  asked.push(pathname);
  const printed = /^\/api\/v1\/sandboxes\/(\w+)\/console$/.exec(pathname)?.[1];
  if (printed) return new Response(`${printed} printed this`);
  const of = searchParams.get("login_id");
  const items = sandboxes.filter(({ login_id }) => of === null || of === login_id);
  return Response.json({ items: items.slice(0, Number(searchParams.get("limit") ?? 50)), next_cursor: null });
}

// The client takes both when it is made.
vi.stubGlobal("location", { origin: "http://polydev.test" });
vi.stubGlobal("fetch", server);
const { loginLog } = await import("./queries");

it("finds what a login's last desktop printed, however many sandboxes came after it", async () => {
  const later = Array.from({ length: 300 }, (_, n) => ({ id: `sbx_later${n}`, login_id: "lgn_other" }));
  sandboxes = [...later, { id: "sbx_second", login_id: "lgn_1" }, { id: "sbx_first", login_id: "lgn_1" }];
  expect(await new Queries().fetchQuery(loginLog("lgn_1"))).toBe("sbx_second printed this");
  expect(asked).toEqual(["/api/v1/sandboxes", "/api/v1/sandboxes/sbx_second/console"]);
});

it("says that nothing is known of a login that had no desktop", async () => {
  sandboxes = [{ id: "sbx_other", login_id: "lgn_other" }];
  expect(await new Queries().fetchQuery(loginLog("lgn_1"))).toBeNull();
  expect(asked).toEqual(["/api/v1/sandboxes"]);
});
