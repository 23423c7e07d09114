import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { axe, close, launch, picture, Watched } from "./chromium";
import { ask, GOOD_KEY, setUp, signIn } from "./person";
import { Server } from "./server";

/** A page, and what is on it when it is there. */
type PageOf = { name: string; path: string; there: string };

const SIZES = [
  { width: 390, height: 844 },
  { width: 1280, height: 800 },
  { width: 1920, height: 1080 },
];

const ANSWER = `echo # How it went

The sum is **391**, by \`17 * 23\`. See [the docs](https://docs.example.com/a?b=c), or https://example.org.

1. first
2. second
   - inner *point*

\`\`\`rust
/// Adds three numbers.
fn main() {
    let total: u32 = [1, 2, 3].iter().sum(); // six
    println!("total {total}");
}
\`\`\`

| tool | tokens | cost |
|:-----|-------:|-----:|
| one | 1200 | $0.01 |
| two | 800 | $0.02 |

> Figures are of this afternoon.

- [x] done
- [ ] open
`;

let server: Server;
let browser: Browser;
let full: Watched;
let empty: Watched;
/** Of a run with files, of one that failed, and of one that goes on. */
let run = "";
let failed = "";
let running = "";
/** Of one with much in its answer. */
let answered = "";

beforeAll(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  full = await Watched.open(browser, server.url);
  await setUp(full.page, server);
  const { page } = full;
  await ask(page, "PUT", "/connections/claude", { api_key: GOOD_KEY.claude });
  const { files } = (await server.account("ada", "codex", "/login")) as { files: Record<string, string> };
  const encoded = Object.entries(files).map(([name, text]) => [name, Buffer.from(text).toString("base64")]);
  await ask(page, "POST", "/connections/codex/import", { files: Object.fromEntries(encoded) });
  const start = (body: object) => ask<{ id: string }>(page, "POST", "/runs?wait=true", body);
  await start({ provider: "codex", prompt: "What is 17*23?" });
  run = (await start({ provider: "claude", prompt: "use tool: ls -la / > listing.txt; date > date.txt; ls -la" })).id;
  answered = (await start({ provider: "claude", prompt: ANSWER })).id;
  failed = (await start({ provider: "codex", prompt: "[fault:401] echo nothing" })).id;
  running = (
    await ask<{ id: string }>(page, "POST", "/runs", { provider: "claude", prompt: "[fault:stall] count to 20" })
  ).id;
  await ask(page, "POST", "/keys", { name: "laptop" });
  await ask(page, "POST", "/keys", { name: "ci", scopes: ["runs:read"], expires_at: "2027-01-01T00:00:00Z" });
  const { password } = await ask<{ password: string }>(page, "POST", "/users", { email: "grace@example.com" });
  empty = await Watched.open(browser, server.url);
  await signIn(empty.page, "grace@example.com", password);
});

afterAll(async () => {
  await close(browser);
  await server?.stop();
});

/** Looks at a page at every size, light and dark: nothing that axe finds, nothing wider than the window. */
async function looksWell(page: Page, name: string): Promise<void> {
  const wrong: string[] = [];
  for (const size of SIZES) {
    await page.setViewportSize(size);
    for (const scheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      const at = `${size.width}x${size.height}-${scheme}`;
      wrong.push(...(await axe(page, scheme === "light" ? "all" : "colours")).map((found) => `${at}: ${found}`));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (wide > 0) wrong.push(`${at}: it is ${wide} px wider than the window`);
      // A picture of the dark at one size shows what the others would: what is in it stands as in the light.
      if (scheme === "light" || size.width === 1280) await picture(page, `${name}-${at}`);
    }
  }
  // The narrowest that WCAG asks for (1280 px at 400 %), a small phone, a large screen.
  for (const width of [320, 360, 2560]) {
    await page.setViewportSize({ width, height: 1440 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (wide > 0) wrong.push(`${width}: it is ${wide} px wider than the window`);
  }
  expect(wrong).toEqual([]);
}

const settled = (page: Page) => page.locator(".late").first().waitFor({ state: "detached" });

const OUTSIDE: PageOf[] = [
  { name: "signin", path: "/signin", there: "No account yet?" },
  { name: "setup", path: "/setup?token=x", there: "Make the first account" },
  { name: "setup-without-token", path: "/setup", there: "Open that link" },
];

const INSIDE = (): PageOf[] => [
  { name: "dashboard", path: "/", there: "Recent runs" },
  { name: "connect", path: "/connect/claude", there: "Connect Claude Code" },
  { name: "login", path: "/logins/lgn_x", there: "There is no such login" },
  { name: "playground", path: `/playground?provider=claude`, there: "Playground" },
  { name: "runs", path: "/runs", there: "Runs" },
  { name: "settings", path: "/settings", there: "API keys" },
  { name: "admin", path: "/admin", there: "Admin" },
];

async function go(page: Page, { path, there }: PageOf): Promise<void> {
  await page.goto(path);
  await page.getByText(there).first().waitFor();
  await page.waitForLoadState("domcontentloaded");
  await settled(page);
}

/** Opens a page beside the others, looks at it, and closes it: so two can be looked at at once. */
async function beside(watched: Watched, look: (page: Page) => Promise<void>): Promise<void> {
  const page = await watched.context.newPage();
  try {
    await look(page);
  } finally {
    await page.close();
  }
}

describe.concurrent("with data", () => {
  const more = (): PageOf[] => [
    { name: "run", path: `/runs/${run}`, there: "listing.txt" },
    { name: "run-events", path: `/runs/${run}?view=events`, there: "run.completed" },
    { name: "run-failed", path: `/runs/${failed}`, there: "It failed" },
    { name: "run-running", path: `/runs/${running}`, there: "Its events can be saved once all are here." },
    { name: "admin-runs", path: "/admin?view=runs", there: "claude" },
    { name: "admin-sandboxes", path: "/admin?view=sandboxes", there: "Stands" },
    { name: "admin-audit", path: "/admin?view=audit", there: "connection.put" },
    { name: "admin-server", path: "/admin?view=server", there: "Running since" },
  ];
  for (const [at, { name }] of [...INSIDE(), ...more()].entries()) {
    it(name, () =>
      beside(full, async (page) => {
        await go(page, [...INSIDE(), ...more()][at] as PageOf);
        await looksWell(page, name);
      }),
    );
  }

  it("an answer", () =>
    beside(full, async (page) => {
      await go(page, { name: "answer", path: `/playground?run=${answered}`, there: "How it went" });
      await page.locator("code .hljs-keyword").first().waitFor();
      await looksWell(page, "playground-answer");
    }));

  it("dialogs", () =>
    beside(full, async (page) => {
      await page.goto("/settings");
      await page.getByRole("button", { name: "Make a key" }).click();
      await looksWell(page, "settings-make-key");
      await page.goto("/");
      await page.getByRole("button", { name: "Disconnect" }).first().click();
      await looksWell(page, "dashboard-disconnect");
      await page.goto("/playground");
      await page.getByLabel("Prompt", { exact: true }).fill("What is 17*23?");
      await page.getByRole("button", { name: "Show as code" }).click();
      await looksWell(page, "playground-code");
    }));
});

describe.concurrent("empty", () => {
  for (const [at, { name }] of OUTSIDE.entries()) {
    it(name, async () => {
      const watched = await Watched.open(browser, server.url);
      await go(watched.page, OUTSIDE[at] as PageOf);
      await looksWell(watched.page, name);
      await watched.close();
    });
  }
  for (const [at, { name }] of INSIDE().entries()) {
    it(name, () =>
      beside(empty, async (page) => {
        await go(page, INSIDE()[at] as PageOf);
        await looksWell(page, `${name}-empty`);
      }),
    );
  }
});

describe.concurrent("in error", () => {
  const error = {
    code: "internal",
    message: "the database cannot be read",
    hint: "The server's log says more: look for the request's id.",
    request_id: "req_aaaaaaaaaaaaaaaa",
  };
  const pages = [
    ...INSIDE().filter(({ name }) => name !== "login"),
    { name: "run", path: "/runs/run_x" },
    ...["runs", "sandboxes", "audit", "server"].map((view) => ({ name: `admin-${view}`, path: `/admin?view=${view}` })),
  ];
  for (const { name, path } of pages) {
    it(name, () =>
      beside(full, async (page) => {
        // Who one is is known; all else fails.
        await page.route(/\/api\/v1\/(?!me|events)/, (route) => route.fulfill({ status: 422, json: { error } }));
        await page.goto(path);
        await page.getByText("The database cannot be read.").first().waitFor();
        await page.getByText("req_aaaaaaaaaaaaaaaa").first().waitFor();
        await settled(page);
        await looksWell(page, `${name}-error`);
      }),
    );
  }

  const refused = [
    { name: "signin", path: "/signin", button: "Sign in" },
    { name: "setup", path: "/setup?token=x", button: "Make the account" },
  ];
  for (const { name, path, button } of refused) {
    it(name, async () => {
      const watched = await Watched.open(browser, server.url);
      const { page } = watched;
      await page.goto(path);
      await page.getByLabel("Email").fill("nobody@example.com");
      for (const field of await page.locator("[type=password]").all()) await field.fill("correct horse");
      await page.getByRole("button", { name: button }).click();
      await page
        .getByRole("alert")
        .getByText(/^Request req_/)
        .waitFor();
      await looksWell(page, `${name}-error`);
      await watched.close();
    });
  }
});

describe("a login, at every end that it can have", () => {
  const stages = (...states: string[]) =>
    ["allocating", "starting", "desktop", "ready"].map((name, at) => ({
      name,
      state: states[at] ?? "pending",
      started_at: states[at] ? "2026-11-23T09:00:00Z" : null,
      took_ms: states[at] === "done" ? 37 * (at + 1) ** 3 : null,
      waiting_for: states[at] === "active" ? "`xfwm4` to announce itself" : null,
    }));
  const error = {
    code: "tool_crashed",
    message: "the desktop was lost: `Xtigervnc` ended by signal 9",
    hint: "Open another one. If that happens again, the server's log says more.",
  };
  const ENDS: [string, string, object][] = [
    ["preparing", "A desktop of your own is being made", { stages: stages("done", "done", "active") }],
    ["failed", "It failed", { stages: stages("done", "done", "failed"), error }],
    ["expired", "Nobody had signed in", {}],
    ["cancelled", "It was cancelled", {}],
    ["connected", "Successfully connected", {}],
  ];
  for (const [status, there, more] of ENDS) {
    it(status, async () => {
      const { page } = full;
      const { id: user_id } = await ask<{ id: string }>(page, "GET", "/me");
      const json = {
        id: "lgn_x",
        user_id,
        provider: "claude",
        status,
        stages: stages("done", "done", "done", "done"),
        command: "claude auth login",
        started_at: "2026-11-23T09:00:00Z",
        expires_at: "2026-11-23T09:10:00Z",
        completed_at: status === "preparing" ? null : "2026-11-23T09:10:00Z",
        error: null,
        question: null,
        desktop_url: "",
        page_url: "",
        events_url: "",
        ...more,
      };
      await page.route("**/api/v1/logins/lgn_x", (route) => route.fulfill({ json }));
      await page.route("**/api/v1/logins/lgn_x/events?*", (route) => route.fulfill({ status: 204 }));
      await go(page, { name: status, path: "/logins/lgn_x", there });
      if (status === "failed") await page.getByText("What its desktop printed").click();
      await settled(page);
      await looksWell(page, `login-${status}`);
      await page.unrouteAll();
    });
  }
});

describe("by keyboard alone", () => {
  it("skips to the page, asks, and opens what is folded", async () => {
    const { page } = full;
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.goto("/playground?provider=claude");
    await page.getByLabel("Prompt", { exact: true }).waitFor();
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the page");
    await page.keyboard.press("Enter");
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("main");
    // The provider, the model, the prompt.
    for (let at = 0; at < 3; at += 1) await page.keyboard.press("Tab");
    await page.keyboard.type("use tool: echo by keys");
    await page.keyboard.press("Control+Enter");
    const answer = page.getByRole("region", { name: "The answer" });
    await answer.getByText("done: by keys").waitFor();
    await answer.locator("summary").first().focus();
    await page.keyboard.press("Enter");
    await answer.getByRole("region", { name: "What Bash said" }).waitFor();
    // What has the focus is seen.
    const outline = () =>
      page.evaluate(() => {
        const style = getComputedStyle(document.activeElement as Element);
        return style.outlineStyle !== "none" && Number.parseFloat(style.outlineWidth) >= 2;
      });
    await page.goto("/");
    await page.getByRole("button", { name: "Disconnect" }).first().waitFor();
    const seen = new Set<string>();
    for (let at = 0; at < 60; at += 1) {
      await page.keyboard.press("Tab");
      const what = await page.evaluate(() => document.activeElement?.outerHTML.slice(0, 300) ?? "");
      if (what.startsWith("<body")) break;
      expect(await outline(), what).toBe(true);
      seen.add(what);
    }
    expect(seen.size).toBeGreaterThan(15);
  });

  it("is told of what changes without the focus", async () => {
    const { page } = full;
    await page.goto("/playground?provider=claude");
    await page.getByLabel("Prompt", { exact: true }).fill("echo Hello there. It is done.");
    await page.keyboard.press("Control+Enter");
    await page
      .getByRole("status")
      .filter({ hasText: "Hello there. It is done. Completed." })
      .waitFor({ state: "attached" });
    // A page that follows another is read from its title.
    await page.getByRole("link", { name: "Runs", exact: true }).first().click();
    await page.getByRole("heading", { name: "Runs" }).waitFor();
    await expect.poll(() => page.evaluate(() => document.activeElement?.tagName)).toBe("H1");
    // Where there is no room for columns, each cell says what it is of.
    await page.setViewportSize({ width: 390, height: 844 });
    await page.getByRole("cell", { name: "State Completed" }).first().waitFor();
    await page
      .getByRole("cell", { name: /^Tokens \d+/ })
      .first()
      .waitFor();
  });
});

it("did nothing on the way that its policy forbids, and asked nobody else", () => {
  full.sound();
  empty.sound();
});
