import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { close, launch, picture, Watched } from "./chromium";
import { GOOD_KEY, PASSWORD, prompt, setUp, signIn } from "./person";
import { Server } from "./server";

let server: Server;
let browser: Browser;

beforeAll(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});

afterAll(async () => {
  await close(browser);
  await server?.stop();
});

it("goes from the setup link to a streamed answer, and out again", async () => {
  const watched = await Watched.open(browser, server.url);
  const { page } = watched;

  // In, by the setup link, whose token does not stay in the address.
  await setUp(page, server);
  expect(page.url()).toBe(`${server.url}/`);
  expect(await page.title()).toBe("Dashboard · Polydev");

  // Connect by key: a bad one is refused with the provider's reason, a good one is kept.
  await page.getByRole("link", { name: "Connect Claude Code" }).click();
  const byKey = page.locator("#api_key");
  await byKey.getByLabel("API key").fill("sk-ant-this-is-none");
  await byKey.getByRole("button", { name: "Connect" }).click();
  await byKey.getByRole("alert").getByText("Nothing was kept").waitFor();
  expect(await byKey.getByRole("alert").textContent()).toMatch(/Request req_/);
  await byKey.getByLabel("API key").fill(GOOD_KEY.claude as string);
  await byKey.getByRole("button", { name: "Connect" }).click();
  await page.getByRole("heading", { name: "Successfully connected" }).waitFor();
  expect(await page.content()).not.toContain(GOOD_KEY.claude);

  // Ask.
  await page.getByRole("link", { name: "Ask it something" }).click();
  await prompt(page, "What is 17*23?");
  const answer = page.getByRole("region", { name: "The answer" });
  await answer.getByText("391").waitFor();
  await answer.getByText("Completed").waitFor();
  expect(await answer.textContent()).toMatch(/\d in · \d+ out · \$/);

  // The same as code does the same, with a key that is shown once.
  await page.getByRole("button", { name: "Show as code" }).click();
  const code = (await page.getByRole("tabpanel").locator("pre").textContent()) ?? "";
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "Settings" }).first().click();
  await page.getByRole("button", { name: "Make a key" }).click();
  await page.getByLabel("Name").fill("curl");
  await page.getByRole("button", { name: "Make it" }).click();
  const key = (await page.locator("output").textContent()) ?? "";
  expect(key).toMatch(/^pdv_/);
  await page.getByRole("button", { name: "I have it" }).click();
  expect(await page.content()).not.toContain(key);
  const said = await promisify(execFile)("bash", ["-c", code], {
    env: { PATH: process.env.PATH, POLYDEV_API_KEY: key, NO_PROXY: "*" },
  });
  expect(said.stdout).toContain('"text":"391"');
  await page.getByRole("button", { name: "Revoke: curl" }).click();
  await page.getByRole("button", { name: "Revoke", exact: true }).last().click();
  await page.getByText("Revoked").waitFor();

  // A file goes in, the real tool works with it, and what it made comes out.
  await page.getByRole("link", { name: "Playground" }).first().click();
  await page
    .getByLabel("Files that go with it")
    .setInputFiles({ name: "given.txt", mimeType: "text/plain", buffer: Buffer.from("from the page") });
  await prompt(page, "use tool: cat given.txt; tr a-z A-Z < given.txt > made.txt");
  await answer.getByText("done: from the page").waitFor();
  await answer.getByText("Bash").click();
  await answer.getByRole("region", { name: "What Bash said" }).getByText("from the page").waitFor();
  await picture(page, "story-tool");
  await answer.getByRole("link", { name: "Open the run" }).click();

  // Its page has all of it.
  await page.getByRole("tab", { name: "Events" }).click();
  await page.getByText("tool.result", { exact: true }).waitFor();
  await page.getByRole("tab", { name: "Console" }).click();
  await page.getByText(/What sandbox/).waitFor();
  await page.getByText("api.anthropic.com").waitFor();
  const [made] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "made.txt" }).click(),
  ]);
  expect(readFileSync(await made.path(), "utf8")).toBe("FROM THE PAGE");
  const [events] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Events, JSON lines" }).click(),
  ]);
  const lines = readFileSync(await events.path(), "utf8")
    .trim()
    .split("\n");
  expect(JSON.parse(lines.at(-1) ?? "")).toMatchObject({ type: "run.completed", seq: lines.length });

  // Stop. What was said stays.
  await page.getByRole("link", { name: "Playground" }).first().click();
  await prompt(page, "[fault:slow 200] count to 500");
  await answer.getByText("1 2 3").waitFor();
  await answer.getByRole("button", { name: "Stop" }).click();
  await answer.getByText("It was stopped here.").waitFor();
  expect(await answer.textContent()).toContain("1 2 3");

  // What is being written outlives a reload, and so does the answer.
  await page.getByLabel("Prompt", { exact: true }).fill("half a tho");
  await page.reload();
  await answer.getByText("It was stopped here.").waitFor();
  expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("half a tho");

  // Disconnect, and be told how to ask again.
  await page.getByRole("link", { name: "Dashboard", exact: true }).first().click();
  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
  await page.getByRole("link", { name: "Connect Claude Code" }).waitFor();
  await page.getByRole("link", { name: "Playground" }).first().click();
  await page.getByText("There is nobody to ask yet").waitFor();

  // Out: nothing of it is left, in the page or behind the back button.
  await page.getByRole("button", { name: "Sign out" }).first().click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.goBack();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  expect(await page.evaluate(() => Object.keys(sessionStorage).filter((key) => key.startsWith("polydev")))).toEqual([]);
  await page.goto("/runs?status=completed");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.getByLabel("Email").fill("ada@example.com");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Runs" }).waitFor();
  expect(new URL(page.url()).search).toBe("?status=completed");
  await watched.close();
});

it("connects by the files of a tool's own login, and by a setup token", async () => {
  const watched = await Watched.open(browser, server.url);
  const { page } = watched;
  await signIn(page, "ada@example.com", PASSWORD);
  await page.goto("/connect/codex");
  const { files } = (await server.account("ada", "codex", "/login")) as { files: Record<string, string> };
  const importing = page.locator("#import");
  await importing
    .getByLabel(/files of/)
    .setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("x") });
  await importing.getByText(/is not one of these files/).waitFor();
  await importing
    .getByLabel(/files of/)
    .setInputFiles(
      Object.entries(files).map(([name, text]) => ({ name, mimeType: "text/plain", buffer: Buffer.from(text) })),
    );
  await importing.getByRole("button", { name: "Import" }).click();
  await page.getByRole("heading", { name: "Successfully connected" }).waitFor();
  await page
    .getByText(/as ada@/)
    .first()
    .waitFor();

  const { token } = (await server.account("ada", "claude", "/setup-token")) as { token: string };
  await page.goto("/connect/claude");
  const byToken = page.locator("#setup_token");
  await byToken.getByText("claude setup-token").waitFor();
  await byToken.getByLabel("Setup token").fill(token);
  await byToken.getByRole("button", { name: "Connect" }).click();
  await page.getByRole("heading", { name: "Successfully connected" }).waitFor();

  // What another page does is seen here without asking: the stream of changes tells.
  await page.goto("/");
  await page.getByRole("article", { name: "Claude Code" }).getByText("Connected").waitFor();
  const other = await watched.context.newPage();
  await other.goto("/connect/gemini");
  await other
    .locator("#api_key")
    .getByLabel("API key")
    .fill(GOOD_KEY.gemini as string);
  await other.locator("#api_key").getByRole("button", { name: "Connect" }).click();
  await other.getByRole("heading", { name: "Successfully connected" }).waitFor();
  await page.getByRole("article", { name: "Gemini CLI" }).getByText("Connected").waitFor();
  await watched.close();
});
