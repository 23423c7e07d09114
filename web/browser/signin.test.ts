import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it, onTestFailed } from "vitest";
import { axe, close, launch, picture, Watched } from "./chromium";
import { authorizes, desktopOf, shows, showsPage, toTerminal } from "./desk";
import { ask, PASSWORD, prompt, setUp, signIn } from "./person";
import { Server } from "./server";

/**
 * The whole story: somebody comes with nothing but an account at a provider, and goes with an answer. Keys and clicks
 * alone; what is asked of the server and the stand-in beside the page only looks.
 */

let server: Server;
let browser: Browser;

beforeAll(async () => {
  // None made ahead: whose sandboxes there are is looked at.
  [server, browser] = await Promise.all([Server.start("[pool]\ndesktop = 0\ncli = 0\n"), launch()]);
  const watched = await Watched.open(browser, server.url);
  await setUp(watched.page, server);
  await watched.close();
});

afterAll(async () => {
  await close(browser);
  await server?.stop();
});

type Story = {
  /** What the pictures are called. */
  name: string;
  provider: string;
  label: string;
  /** Who signs in at the provider. */
  as: string;
  /** What is typed once the terminal has the keys, until the tool opens its page. */
  types: (page: Page) => Promise<void>;
};

/** Presses Enter at each of a tool's questions, once it stands there. */
const answers = (command: string, questions: RegExp[], name: string) => async (page: Page) => {
  await page.keyboard.type(`${command}\n`);
  for (const [at, question] of questions.entries()) {
    await shows(page, question);
    // What was looked at is marked until somebody clicks.
    await desktopOf(page).click({ position: { x: 1100, y: 600 } });
    await picture(page, `whole-${name}-question-${at + 1}`);
    await page.keyboard.press("Enter");
  }
};

const stories: Story[] = [
  {
    name: "claude",
    provider: "claude",
    label: "Claude Code",
    as: "ada",
    types: (page) => page.keyboard.type("claude auth login\n"),
  },
  {
    name: "codex",
    provider: "codex",
    label: "Codex",
    as: "bob",
    types: (page) => page.keyboard.type("codex login\n"),
  },
  {
    name: "gemini",
    provider: "gemini",
    label: "Gemini CLI",
    as: "eve",
    types: answers("gemini", [/trust/i, /Sign in with Google/, /continue\?/], "gemini"),
  },
  {
    name: "claude-alone",
    provider: "claude",
    label: "Claude Code",
    as: "grace",
    types: answers("claude", [/Choose the text style/, /Select login method/], "claude-alone"),
  },
];

/** Somebody signed in to the app, in a window of their own. */
async function somebody(): Promise<Watched> {
  const watched = await Watched.open(browser, server.url);
  await watched.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: server.url });
  onTestFailed(() => picture(watched.page, "signin-failed"));
  await signIn(watched.page, "ada@example.com", PASSWORD);
  return watched;
}

/** Goes to the dashboard, and disconnects there what is connected. */
async function disconnects(page: Page, label: string): Promise<void> {
  const card = page.getByRole("article", { name: label });
  const disconnect = card.getByRole("button", { name: "Disconnect" });
  await disconnect
    .or(card.getByRole("link", { name: /^Connect/ }))
    .first()
    .waitFor();
  if (!(await disconnect.isVisible())) return;
  await disconnect.click();
  await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
  await card.getByRole("link", { name: /^Connect/ }).waitFor();
}

/** Opens a desktop on the page of the ways to connect, and waits until its terminal has the keys. */
async function opens(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Open a desktop" }).click();
  await desktopOf(page).waitFor({ timeout: 60_000 });
  await expect.poll(() => desktopOf(page).evaluate((canvas) => canvas === document.activeElement)).toBe(true);
  await page
    .getByText(/^Connection:/)
    .first()
    .waitFor();
}

it.each(stories)("$name: from the app's own sign-in to an answer", async ({ name, provider, label, as, types }) => {
  await server.account(as, provider, "/first");
  const watched = await somebody();
  const { page } = watched;
  const keep = (step: string) => picture(page, `whole-${name}-${step}`);
  const card = page.getByRole("article", { name: label });
  await disconnects(page, label);
  await card.getByRole("link", { name: /^Connect/ }).click();
  await page.getByRole("button", { name: "Open a desktop" }).waitFor();
  await keep("1-connect");
  await opens(page);
  await keep("2-desktop");
  await types(page);
  await showsPage(page);
  await keep("3-page");
  await authorizes(page);
  await page.getByRole("heading", { name: "Successfully connected" }).waitFor({ timeout: 30_000 });
  await page.getByText(new RegExp(`as ${as}@example.test, by signing in here`)).waitFor();
  await keep("4-connected");
  const sandboxes = () => readdirSync(join(server.dir, "data/sandboxes")).filter((id) => id.startsWith("sbx_"));
  await expect.poll(sandboxes).toEqual([]);

  await page.getByRole("link", { name: "Ask it something" }).click();
  await prompt(page, "What is 17*23?");
  await page.getByRole("region", { name: "The answer" }).getByText("391").waitFor({ timeout: 30_000 });
  await keep("5-answer");
  await watched.close();
});

/** The page that the dialog links to, in a browser which is not the desktop's. */
async function inOwnBrowser(page: Page): Promise<{ own: Page; close: () => Promise<void> }> {
  const link = page.getByRole("dialog").getByRole("link", { name: /opens in a new tab/ });
  const href = (await link.getAttribute("href")) ?? "";
  const context = await browser.newContext({ proxy: { server: server.proxy }, ignoreHTTPSErrors: true });
  const own = await context.newPage();
  await own.goto(href);
  return { own, close: () => close(context) };
}

it("signs in with one's own browser by the code that codex shows", async () => {
  await server.account("carol", "codex", "/first");
  const watched = await somebody();
  const { page } = watched;
  await disconnects(page, "Codex");
  await page.goto("/connect/codex");
  await page.getByRole("button", { name: "Sign in with my own browser" }).click();
  const dialog = page.getByRole("dialog", { name: "Sign in with your own browser" });
  const code = (await dialog.locator("code").textContent({ timeout: 60_000 })) ?? "";
  expect(code).toMatch(/^[A-Z]{4}-[A-Z]{5}$/);
  await dialog.getByRole("button", { name: "Copy the code" }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(code);
  expect(await axe(page, "all")).toEqual([]);
  await picture(page, "own-browser-codex");

  const { own, close } = await inOwnBrowser(page);
  await own.getByLabel("Code").fill(code);
  await own.getByRole("button", { name: "Continue" }).click();
  await own.getByRole("button", { name: "Authorize" }).click();
  await own.getByText("You are signed in to Codex").waitFor();
  await close();
  await page.getByText("as carol@example.test, by signing in here").waitFor({ timeout: 30_000 });
  await page.getByRole("link", { name: "Ask it something" }).click();
  await prompt(page, "What is 17*23?");
  await page.getByRole("region", { name: "The answer" }).getByText("391").waitFor({ timeout: 30_000 });
  await watched.close();
});

it("signs in with one's own browser by the code that claude's page shows, at the second try", async () => {
  await server.account("dave", "claude", "/first");
  const watched = await somebody();
  const { page } = watched;
  await disconnects(page, "Claude Code");
  await page.goto("/connect/claude");
  await opens(page);
  await page.getByRole("button", { name: "Use my own browser" }).click();
  const dialog = page.getByRole("dialog", { name: "Sign in with your own browser" });
  const brings = async (): Promise<string> => {
    await dialog.getByLabel("The code").waitFor({ timeout: 30_000 });
    const { own, close } = await inOwnBrowser(page);
    await own.getByRole("button", { name: "Authorize" }).click();
    const code = await own.locator("textarea").inputValue();
    await close();
    return code;
  };
  await server.account("dave", "claude", "/fault?is=expired-code");
  const expired = await brings();
  await dialog.getByLabel("The code").fill(expired.slice(0, 10));
  await dialog.getByRole("button", { name: "Sign in" }).click();
  await dialog.getByText("Copy all of it, with the # in the middle.").waitFor();
  await dialog.getByLabel("The code").fill(expired);
  expect(await axe(page, "all")).toEqual([]);
  await picture(page, "own-browser-claude");
  await dialog.getByRole("button", { name: "Sign in" }).click();
  await dialog.getByText("That code wasn't accepted").waitFor({ timeout: 30_000 });
  await picture(page, "own-browser-refused");

  await server.account("dave", "claude", "/fault");
  await dialog.getByRole("button", { name: "Ask for another page" }).click();
  const code = await brings();
  await dialog.getByLabel("The code").fill(code);
  await page.keyboard.press("Enter");
  await page.getByText("as dave@example.test, by signing in here").waitFor({ timeout: 30_000 });
  await watched.close();
});

it("says what came of it where the provider denies, fails, is slow, or signs somebody else in", async () => {
  const watched = await somebody();
  const { page } = watched;
  const keep = (step: string) => picture(page, `fault-${step}`);
  const goesWrong = (fault: string) => server.account("bob", "codex", `/fault?is=${fault}`);
  const signsIn = async () => {
    await page.keyboard.type("clear; codex login\n");
    await authorizes(page);
  };
  await server.account("bob", "codex", "/first");
  // Whoever was connected before.
  const { files } = (await server.account("bob", "codex", "/login")) as { files: Record<string, string> };
  const encoded = Object.entries(files).map(([name, text]) => [name, Buffer.from(text).toString("base64")]);
  await ask(page, "POST", "/connections/codex/import", { files: Object.fromEntries(encoded) });

  await page.goto("/connect/codex");
  await page.getByText("as bob@example.test. What you connect now takes the place of what is there.").waitFor();
  await opens(page);

  // The tool is told, and tells; here nothing has happened.
  await goesWrong("denied");
  await signsIn();
  await toTerminal(page);
  await shows(page, "Sign-in failed: This account may not use the application.");
  await keep("denied");
  expect(await page.getByText("You have signed in").isVisible()).toBe(false);

  await goesWrong("no-refresh-token");
  await signsIn();
  const says = (sentence: string) =>
    page
      .getByRole("region", { name: /^The desktop/ })
      .getByText(sentence)
      .waitFor({ timeout: 30_000 });
  await says("What Codex has left is not kept: a token is missing in auth.json");
  await keep("no-refresh-token");

  await goesWrong("after-token");
  await toTerminal(page);
  await signsIn();
  await says("You have signed in, but it is not known as whom");
  await keep("after-token");

  await goesWrong("other-account");
  await toTerminal(page);
  await signsIn();
  await says("You have signed in to Codex as bob-other@example.test. Connected is bob@example.test");
  await keep("other-account");

  // Slow, and nothing else: who signs in anew has taken the question back.
  await goesWrong("slow-token-2000");
  await toTerminal(page);
  await signsIn();
  await page.getByRole("heading", { name: "Successfully connected" }).waitFor({ timeout: 30_000 });
  await page.getByText("as bob@example.test, by signing in here").waitFor();
  await server.account("bob", "codex", "/fault");
  await watched.close();
});
