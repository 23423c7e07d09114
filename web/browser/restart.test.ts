import type { Browser } from "playwright-core";
import { afterEach, beforeEach, expect, it } from "vitest";
import { axe, close, launch, picture, Watched } from "./chromium";
import { ask, GOOD_KEY, prompt, setUp } from "./person";
import { Server } from "./server";

let server: Server;
let browser: Browser;

beforeEach(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});

afterEach(async () => {
  await close(browser);
  await server?.stop();
});

/** The chunk of a page that is not fetched before it is gone to. */
const SETTINGS = "**/assets/settings-*.js";

/** Somebody in the middle of a slow answer. */
async function listening(): Promise<Watched> {
  const watched = await Watched.open(browser, server.url);
  const { page } = watched;
  await setUp(page, server);
  await ask(page, "PUT", "/connections/claude", { api_key: GOOD_KEY.claude });
  await page.route(SETTINGS, (route) => route.abort());
  await page.goto("/playground");
  await prompt(page, "[fault:slow 100] count to 60");
  await page.getByText("1 2 3 4").waitFor();
  // A page that was loaded anew would not have it.
  await page.evaluate(() => Object.assign(window, { same: true }));
  return watched;
}

const ALL = Array.from({ length: 60 }, (_, at) => at + 1).join(" ");

it("goes on with an answer whose server was killed and started again", async () => {
  const watched = await listening();
  const { page } = watched;
  await server.kill();
  await page.getByText("No connection to the server.").waitFor();
  await picture(page, "lost");
  expect(await axe(page, "all")).toEqual([]);
  // A page that was not visited yet can be gone to all the same, once the server is back.
  await page.unroute(SETTINGS);
  await page.getByRole("link", { name: "Settings" }).first().click();
  await page.waitForRequest("**/healthz");
  await server.run();
  await page.getByRole("heading", { name: "Settings" }).waitFor({ timeout: 60_000 });
  await page.goBack();
  const answer = page.getByRole("region", { name: "The answer" });
  await answer
    .getByText(/^(Completed|Interrupted)$/)
    .first()
    .waitFor({ timeout: 60_000 });
  await page.getByText("No connection to the server.").waitFor({ state: "detached" });

  // What is shown is what the server has, whichever it is.
  const id = new URL(page.url()).searchParams.get("run") ?? "";
  const run = await ask<{ status: string; text: string }>(page, "GET", `/runs/${id}`);
  expect(await answer.textContent()).toContain(run.text);
  if (run.status === "completed") expect(run.text).toBe(ALL);
  else await answer.getByRole("button", { name: "Resend" }).waitFor();
  expect(await page.evaluate(() => (window as unknown as { same?: boolean }).same)).toBe(true);
  await watched.close();
});

it("says that an answer was interrupted, and sends it again", async () => {
  const watched = await listening();
  const { page } = watched;
  const answer = page.getByRole("region", { name: "The answer" });
  // Stopped as an operator does, a server ends what is under way when its time is over.
  await server.end();
  await server.run();
  await answer.getByText("Interrupted").first().waitFor({ timeout: 60_000 });
  expect(await answer.textContent()).toContain("1 2 3 4");
  await picture(page, "interrupted");
  expect(await axe(page, "all")).toEqual([]);
  const before = page.url();
  await answer.getByRole("button", { name: "Resend" }).click();
  await page.waitForURL((url) => url.href !== before);
  await answer.getByText(ALL).waitFor({ timeout: 60_000 });
  await answer.getByText("Completed").waitFor();
  expect(await page.evaluate(() => (window as unknown as { same?: boolean }).same)).toBe(true);
  await watched.close();
});
