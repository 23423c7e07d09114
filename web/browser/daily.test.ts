import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { axe, close, launch, Watched } from "./chromium";
import { ask, GOOD_KEY, PASSWORD, prompt, setUp, signIn } from "./person";
import { Server } from "./server";

let server: Server;
let browser: Browser;
let watched: Watched;
let page: Page;

const ADA = "ada@example.com";

beforeAll(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  watched = await Watched.open(browser, server.url);
  page = watched.page;
  await setUp(page, server);
});

afterAll(async () => {
  await close(browser);
  await server?.stop();
});

const focused = () =>
  page.evaluate(() => {
    const it = document.activeElement;
    return it?.getAttribute("aria-label") ?? it?.querySelector("h1, h2, h3, caption")?.textContent ?? it?.textContent;
  });

it("ends another session, and changes the password", async () => {
  const other = await Watched.open(browser, server.url, { userAgent: "Mozilla/5.0 (X11; Linux) Firefox/140.0" });
  await signIn(other.page, ADA, PASSWORD);
  await page.goto("/settings");
  await page.getByRole("button", { name: "Sign out: Firefox on Linux" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Sign out" }).click();
  await other.page.getByRole("heading", { name: "Sign in" }).waitFor();
  // What was pressed is gone: the focus is on what is left.
  await expect.poll(focused).toBe("Your sessions");

  await signIn(other.page, ADA, PASSWORD);
  const change = async (current: string, fresh: string, again: string) => {
    await page.getByLabel("Current password").fill(current);
    await page.getByLabel("New password").fill(fresh);
    await page.getByLabel("The new one again").fill(again);
    await page.getByRole("button", { name: "Change it" }).click();
  };
  await change(PASSWORD, "a better battery", "a bitter battery");
  await page.getByRole("alert").getByText("The two are not the same.").waitFor();
  expect(await page.evaluate(() => (document.activeElement as HTMLInputElement).name)).toBe("again");
  await change("not this one", "a better battery", "a better battery");
  await page.getByRole("alert").getByText("It is as it was").waitFor();
  expect(await page.getByRole("alert").textContent()).toMatch(/Request req_/);
  await change(PASSWORD, "a better battery", "a better battery");
  await page.getByText("Changed", { exact: true }).waitFor();
  await other.page.getByRole("heading", { name: "Sign in" }).waitFor();
  await signIn(other.page, ADA, "a better battery");
  await other.close();
});

it("says when to try again where there was too much", async () => {
  const other = await Watched.open(browser, server.url);
  await other.page.goto("/signin");
  const alert = other.page.getByRole("alert");
  await expect
    .poll(
      async () => {
        await other.page.getByLabel("Email").fill("nobody@example.com");
        await other.page.getByLabel("Password").fill("not this one");
        const answer = other.page.waitForResponse("**/api/v1/session");
        await other.page.getByRole("button", { name: "Sign in" }).click();
        return (await answer).status();
      },
      { interval: 1, timeout: 60_000 },
    )
    .toBe(429);
  await alert.getByText(/It can be tried again in \d+ (second|minute)s?\./).waitFor();
  expect(await alert.textContent()).toMatch(/Request req_/);
  expect(await axe(other.page, "all")).toEqual([]);
  await other.close();

  // A server that tells of no changes any more is not one that is lost.
  const error = { code: "rate_limited", message: "64 streams of yours are open", hint: "Close one." };
  await page.route("**/api/v1/events", (route) => route.fulfill({ status: 429, json: { error } }));
  await page.goto("/");
  await page.getByText("What changes is not shown by itself. 64 streams of yours are open. Close one.").waitFor();
  expect(await axe(page, "all")).toEqual([]);
  await page.unrouteAll();
});

it("shows light or dark as chosen, and keeps it", async () => {
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto("/settings");
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole("radio", { name: "Dark" }).click();
  const dark = await ground();
  expect(dark).not.toBe(light);
  await page.reload();
  await page.getByRole("radio", { name: "Dark", checked: true }).waitFor();
  expect(await ground()).toBe(dark);
  await page.emulateMedia({ colorScheme: "dark" });
  await page.getByRole("radio", { name: "Light" }).click();
  expect(await ground()).toBe(light);
  await page.getByRole("radio", { name: "As the system" }).click();
  expect(await ground()).toBe(dark);
  await page.emulateMedia({ colorScheme: null });
});

it("says what is wrong with a connection, and leads to a good one", async () => {
  const { files } = (await server.account("ada", "codex", "/login")) as { files: Record<string, string> };
  const encoded = Object.entries(files).map(([name, text]) => [name, Buffer.from(text).toString("base64")]);
  await ask(page, "POST", "/connections/codex/import", { files: Object.fromEntries(encoded) });
  await page.goto("/");
  const card = page.getByRole("article", { name: "Codex" });
  await card.getByText("Connected").waitFor();
  await card.getByRole("button", { name: "Check" }).click();
  await card.getByText("Checked: it works").waitFor();

  // Near its end it is still good.
  const items = await ask<{ items: object[] }>(page, "GET", "/connections").then(({ items }) => items);
  await page.route("**/api/v1/connections", (route) =>
    route.fulfill({ json: { items: items.map((one) => ({ ...one, status: "expiring" })), next_cursor: null } }),
  );
  await page.reload();
  await card.getByText("Ends soon").waitFor();
  expect(await axe(page, "all")).toEqual([]);
  await page.unrouteAll();

  await server.account("ada", "codex", "/revoke");
  await page.reload();
  await card.getByRole("button", { name: "Check" }).click();
  await card.getByText("Reconnect").first().waitFor();
  expect(await axe(page, "all")).toEqual([]);
  // Nobody is offered it as if it were good.
  await page.goto("/playground?provider=codex");
  await page.getByText("Codex no longer takes the connection.").waitFor();
  await prompt(page, "What is 2+2?");
  await page.getByText("It was not sent").waitFor();
  await page.getByRole("alert").getByRole("link", { name: "Reconnect" }).click();
  await page.getByRole("heading", { name: "Connect Codex" }).waitFor();
  await page
    .locator("#api_key")
    .getByLabel("API key")
    .fill(GOOD_KEY.codex as string);
  await page.locator("#api_key").getByRole("button", { name: "Connect" }).click();
  await page.getByRole("heading", { name: "Successfully connected" }).waitFor();
  expect(await axe(page, "all")).toEqual([]);
  // The same place again begins again.
  await page.getByRole("link", { name: /^Codex/ }).click();
  await page.locator("#api_key").waitFor();
});

/** Drops a file on what is at a place of the page. */
async function drop(selector: string, name: string, text: string): Promise<boolean> {
  return page.evaluate(
    ([selector, name, text]) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([text], name, { type: "text/plain" }));
      const target = document.querySelector(selector) as Element;
      const fire = (type: string) =>
        !target.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
      fire("dragenter");
      // The browser would open the file where nobody says that it does not.
      return fire("dragover") && fire("drop");
    },
    [selector, name, text] as const,
  );
}

it("takes files by drag, for whom they are meant, and sends the same again", async () => {
  await ask(page, "PUT", "/connections/claude", { api_key: GOOD_KEY.claude });
  await page.goto("/playground?provider=codex");
  await page.getByLabel("Model").fill("gpt-of-mine");
  await page.getByLabel("Provider").selectOption("claude");
  // The model of one is none of the other's.
  expect(await page.getByLabel("Model").inputValue()).toBe("");
  expect(await drop("#answer", "beside.txt", "x")).toBe(true);
  expect(await drop("form[aria-label='What to ask']", "given.txt", "dragged here")).toBe(true);
  await page.getByRole("list", { name: "Files that go with it" }).getByText("given.txt").waitFor();
  expect(await page.getByText("beside.txt").count()).toBe(0);
  await prompt(page, "use tool: cat given.txt");
  const answer = page.getByRole("region", { name: "The answer" });
  await answer.getByText("done: dragged here").waitFor();
  const url = page.url();

  // After a reload the page has the file no more: it asks for it, and fills in the rest.
  await page.getByRole("button", { name: "Leave given.txt out" }).click();
  await expect.poll(focused).not.toBe("Polydev");
  await page.getByLabel("Prompt", { exact: true }).fill("another thought");
  // An end of the session that was one for a moment only is waited for, and what is over is not read out again.
  await page.route("**/events?after=0", (route) => route.fulfill({ status: 401, json: {} }), { times: 1 });
  await page.goto(url);
  await answer.getByText("done: dragged here").waitFor();
  await answer.getByText("Completed").waitFor();
  expect(await page.getByRole("status").filter({ hasText: "dragged here" }).count()).toBe(0);
  await answer.getByRole("button", { name: "Resend" }).click();
  await page.getByText(/It was asked with given\.txt: add it again/).waitFor();
  expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("use tool: cat given.txt");
  await drop("form[aria-label='What to ask']", "given.txt", "dragged again");
  await page.getByText(/add it again/).waitFor({ state: "detached" });
  await page.keyboard.press("Control+Enter");
  await page.getByLabel("Prompt", { exact: true }).press("Control+Enter");
  await answer.getByText("done: dragged again").waitFor();

  // One without a shell is sent again without one.
  const { id } = await ask<{ id: string }>(page, "POST", "/runs?wait=true", {
    provider: "claude",
    prompt: "echo as before",
    tools: "none",
    system: "be brief",
    metadata: { of: "mine" },
  });
  await page.goto(`/runs/${id}`);
  await page.getByRole("button", { name: "Resend" }).click();
  await page.waitForURL((url) => url.pathname.startsWith("/runs/") && !url.pathname.endsWith(id));
  const again = await ask<object>(page, "GET", `/runs/${new URL(page.url()).pathname.split("/").at(-1)}`);
  expect(again).toMatchObject({
    prompt: "echo as before",
    given: { tools: "none", system: "be brief", files: [] },
    metadata: { of: "mine" },
  });
  await expect.poll(() => page.evaluate(() => document.activeElement?.tagName)).toBe("H1");
});

it("lists runs: older ones, those of a kind, and when exactly", async () => {
  // Pages of two, so that there are several.
  await page.route(/\/api\/v1\/runs\?/, (route) => route.continue({ url: `${route.request().url()}&limit=2` }));
  await page.route(/\/api\/v1\/runs$/, (route) => route.continue({ url: `${route.request().url()}?limit=2` }));
  await page.goto("/runs");
  const rows = page.getByRole("table").getByRole("row");
  await expect.poll(() => rows.count()).toBe(3);
  const broken = (route: { fulfill: (with_: object) => Promise<void> }) =>
    route.fulfill({
      status: 422,
      json: { error: { code: "internal", message: "the list is torn", hint: "Glue it.", request_id: "req_x" } },
    });
  await page.route(/cursor=/, broken);
  await page.getByRole("button", { name: "Older runs" }).click();
  await page.getByRole("alert").getByText("The list is torn.").waitFor();
  await page.getByText("req_x").waitFor();
  await page.unroute(/cursor=/, broken);
  await page.getByRole("button", { name: "Older runs" }).click();
  await expect.poll(() => rows.count()).toBe(5);

  // The exact time is under the pointer, and the rest of the row leads to the run.
  const at = await page.evaluate(() => {
    const time = document.querySelector("tbody time") as Element;
    const { x, y, width, height } = time.getBoundingClientRect();
    return document.elementFromPoint(x + width / 2, y + height / 2)?.getAttribute("title");
  });
  expect(at).toMatch(/20\d\d at \d\d:\d\d:\d\d/);

  await page.getByLabel("State").selectOption("failed");
  await page.getByText("No run is like this").waitFor();
  await page.getByRole("button", { name: "Show all" }).click();
  await page.getByLabel("Provider").selectOption("codex");
  await page.getByText("No run is like this").waitFor();
  await page.getByLabel("Provider").selectOption("claude");
  await expect.poll(() => rows.count()).toBe(3);
  await page.unrouteAll();

  // One that is deleted elsewhere is not there any more.
  await rows.nth(1).getByRole("link").click();
  await page.getByRole("button", { name: "Resend" }).waitFor();
  await expect.poll(focused).toBe("Run");
  const id = new URL(page.url()).pathname.split("/").at(-1);
  await ask(page, "DELETE", `/runs/${id}`);
  await page.getByText("This run cannot be shown").waitFor();
});

it("keeps what goes on where its account is disconnected", async () => {
  await page.goto("/playground?provider=claude");
  await prompt(page, "[fault:slow 100] count to 100");
  const answer = page.getByRole("region", { name: "The answer" });
  await answer.getByText("1 2 3").waitFor();
  await ask(page, "DELETE", "/connections/claude");
  await page.getByText("Claude Code can be asked once it is connected.").waitFor();
  expect(await page.getByLabel("Provider").inputValue()).toBe("claude");
  expect(await page.getByRole("button", { name: "Send", exact: true }).isDisabled()).toBe(true);
  await answer.getByText("1 2 3 4 5").waitFor();
  const error = { code: "internal", message: "it is deaf", hint: "Shout.", request_id: "req_x" };
  await page.route("**/cancel", (route) => route.fulfill({ status: 500, json: { error } }), { times: 1 });
  await answer.getByRole("button", { name: "Stop" }).click();
  await answer.getByRole("alert").getByText("Shout.").waitFor();
  await answer.getByText("req_x").waitFor();
  await answer.getByRole("button", { name: "Stop" }).click();
  await answer.getByText("It was stopped here.").waitFor();
  await expect.poll(focused).toBe("The answer");
});

it("leaves nothing to whom the session goes to", async () => {
  const { password } = await ask<{ password: string }>(page, "POST", "/users", { email: "grace@example.com" });
  await page.goto("/playground");
  await page.getByLabel("Prompt", { exact: true }).fill("of ada alone");
  const second = await watched.context.newPage();
  await second.goto("/");
  await second.getByRole("button", { name: "Sign out" }).first().click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  // Somebody else signs in here.
  await signIn(page, "grace@example.com", password);
  expect(await page.evaluate(() => JSON.stringify(Object.entries(sessionStorage)))).not.toContain("of ada alone");
  // And the first again in the other window: this one is theirs then.
  await second.getByRole("heading", { name: "Sign in" }).waitFor();
  await signIn(second, ADA, "a better battery");
  // As soon as somebody comes back to it.
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await page.getByText(ADA).first().waitFor();
  await second.close();
});

it("did nothing on the way that its policy forbids, and asked nobody else", () => watched.sound());
