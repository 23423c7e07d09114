import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { close, launch, Watched } from "./chromium";
import { ask, GOOD_KEY, prompt, setUp } from "./person";
import { Server } from "./server";

let server: Server;
let browser: Browser;
let watched: Watched;
let page: Page;

/** What would run, if it were taken for HTML. */
const HTML = `<img src=x onerror="window.pwned=1"><svg onload="window.pwned=1"></svg><script>window.pwned=1</script>`;
/** The same without spaces and quotes, where those are not let in. */
const WORD = "<img/src=x/onerror=window.pwned=1>";
/** What would run, if links and pictures were followed. */
const MARKDOWN = `${HTML}

[a](javascript:window.pwned=1) [b](data:text/html,<script>top.pwned=1</script>) <javascript:window.pwned=1>
[c]: javascript:window.pwned=1
[c] ![d](https://evil.example/pixel.png) ![e](javascript:window.pwned=1)

https://accounts.google.com@evil.test/

<iframe src="javascript:top.pwned=1"></iframe><details open ontoggle="window.pwned=1">x</details>

| ${WORD} |
|---|
| [f](vbscript:x) |

\`\`\`html
${HTML}
\`\`\`

\`\`\`${WORD}
${HTML}
\`\`\`
`;

beforeAll(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  // What a browser calls itself is shown among the sessions.
  watched = await Watched.open(browser, server.url, { userAgent: `Evil ${HTML}` });
  page = watched.page;
  await setUp(page, server);
  await ask(page, "PUT", "/connections/claude", { api_key: GOOD_KEY.claude });
});

afterAll(async () => {
  await close(browser);
  await server?.stop();
});

/** What of the page could do something that is not the app's own. */
async function harmful(): Promise<unknown> {
  return page.evaluate((origin) => {
    const all = [...document.querySelectorAll("*")];
    const own = (href: string) => href.startsWith(`${origin}/`) || href.startsWith(`${origin}#`);
    return {
      pwned: (window as unknown as { pwned?: unknown }).pwned ?? null,
      handlers: all.flatMap((one) => one.getAttributeNames().filter((name) => name.startsWith("on"))),
      elements: [...document.querySelectorAll("img, iframe, object, embed, base, style")].map((one) => one.outerHTML),
      scripts: [...document.scripts].filter((one) => !own(one.src)).map((one) => one.outerHTML),
      links: [...document.links]
        .filter((one) => !own(one.href))
        .filter(
          (one) =>
            !/^https?:$/.test(one.protocol) || one.target !== "_blank" || !one.rel.split(" ").includes("noopener"),
        )
        .map((one) => one.outerHTML),
    };
  }, server.url);
}

const HARMLESS = { pwned: null, handlers: [], elements: [], scripts: [], links: [] };

/** Waits until a text is there as text, and holds that nothing came of it. */
async function shownAsText(text: string): Promise<void> {
  await page.getByText(text).first().waitFor({ state: "attached" });
  expect(await harmful()).toEqual(HARMLESS);
}

it("shows a prompt, an answer, a tool's words and a file's name as they are, and runs none of them", async () => {
  const name = `${HTML.replaceAll("/", "∕")}.txt`;
  await page.goto("/playground");
  await prompt(page, `echo ${MARKDOWN}`);
  const answer = page.getByRole("region", { name: "The answer" });
  await answer.getByText("Completed").waitFor();
  await shownAsText('onerror="window.pwned=1"');
  // Pictures are not loaded; where one is from is said.
  await answer.getByText("evil.example").waitFor();
  // So it is of a link that looks like another's.
  await answer.getByText("(evil.test)").waitFor();
  await answer.getByRole("link", { name: "Open the run" }).click();
  await page.getByRole("tab", { name: "Events" }).click();
  await page.getByText("text.delta", { exact: true }).first().click();
  await shownAsText("window.pwned=1");
  await page.goto("/runs");
  await shownAsText("<img src=x");
  await page.goto("/");
  await shownAsText("<img src=x");

  // A file of that name goes in, and another comes out.
  await page.goto("/playground");
  await page
    .getByLabel("Files that go with it")
    .setInputFiles({ name, mimeType: "text/html", buffer: Buffer.from(`<script>window.pwned=1</script>`) });
  await shownAsText("onerror=");
  await page.getByRole("button", { name: "Show as code" }).click();
  await shownAsText("content_base64");
  await page.getByRole("tab", { name: "Python" }).click();
  await shownAsText("b64encode");
  await page.keyboard.press("Escape");
  await prompt(page, `use tool: cat *.txt; cp *.txt '${WORD.replaceAll("/", "_")}.html'; echo '${HTML}' >&2`);
  await answer.getByText("Completed").waitFor();
  await answer.getByText("Bash").click();
  await answer.getByRole("region", { name: "What Bash said" }).waitFor();
  await shownAsText("<script>window.pwned=1</script>");
  await answer.getByRole("link", { name: "Open the run" }).click();
  const [made] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: ".html" }).click()]);
  expect(made.suggestedFilename()).toContain(".html");
  await shownAsText("pwned=1>.html");
});

it("shows why a provider refuses, and a model's name, as they are, where the server keeps them", async () => {
  const refused = await ask<{ id: string; error: { message: string } }>(page, "POST", "/runs?wait=true", {
    provider: "claude",
    prompt: `[fault:400] echo ${HTML}`,
    // The most that is let in as a model's name.
    model: "javascript:window.pwned",
  });
  // The provider's own words have it too.
  expect(refused.error.message).toContain("<img src=x");
  await page.goto(`/runs/${refused.id}`);
  await page.getByText("It failed").waitFor();
  await shownAsText("did not take the prompt");
  await page.getByRole("definition").filter({ hasText: "javascript:window.pwned" }).waitFor();
  await page.getByRole("tab", { name: "Events" }).click();
  await page.getByText("run.failed", { exact: true }).click();
  await shownAsText("invalid_request");
  await page.goto("/runs");
  await page.getByRole("cell").filter({ hasText: "javascript:window.pwned" }).waitFor();
  expect(await harmful()).toEqual(HARMLESS);
  await page.goto(`/playground?run=${refused.id}`);
  await page.getByText("It failed").waitFor();
  await shownAsText("did not take the prompt");

  // A name with anything else in it is refused, and so is nobody's.
  await page.getByLabel("Model").fill(`<img src=x onerror="window.pwned=1">`);
  await prompt(page, "What is 2+2?");
  await page.getByText("It was not sent").waitFor();
  await shownAsText("is not the name of a model");
});

it("shows what people, keys and browsers call themselves as it is", async () => {
  await ask(page, "POST", "/keys", { name: `${HTML.slice(0, 90)}` });
  await server.command(["user", "create", `${WORD}@example.com`]).catch((refused) => {
    // Then nobody can be called so.
    expect(String(refused)).toContain("email");
  });
  await page.goto("/settings");
  await shownAsText("<img src=x");
  await shownAsText("Evil <img");
  for (const view of ["people", "runs", "sandboxes", "audit", "server"]) {
    await page.goto(`/admin?view=${view}`);
    await page.getByRole("tabpanel").locator("table, dl, p").first().waitFor();
    expect(await harmful()).toEqual(HARMLESS);
  }
  await page.goto(`/connect/${encodeURIComponent(HTML)}`);
  await shownAsText("<img src=x");
  await page.goto(`/runs/${encodeURIComponent(HTML)}`);
  await page.getByText("This run cannot be shown").waitFor();
  expect(await harmful()).toEqual(HARMLESS);
  for (const next of ["javascript:window.pwned=1", "//evil.example", "/\\evil.example", "https://evil.example/"]) {
    await page.goto(`/signin?next=${encodeURIComponent(next)}`);
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    expect(await harmful()).toEqual(HARMLESS);
  }
});

it("shows what a provider says as it is: models, refusals, failures", async () => {
  const error = { code: "needs_reconnect", message: MARKDOWN, hint: MARKDOWN, request_id: HTML };
  await page.route("**/api/v1/providers/claude/models", (route) =>
    route.fulfill({ json: { items: [{ id: HTML, label: MARKDOWN }], next_cursor: null } }),
  );
  await page.route("**/api/v1/connections/claude", (route) => route.fulfill({ status: 409, json: { error } }));
  await page.goto("/connect/claude");
  await page.locator("#api_key").getByLabel("API key").fill("sk-ant-x");
  await page.locator("#api_key").getByRole("button", { name: "Connect" }).click();
  await page.getByRole("alert").waitFor();
  await shownAsText("<img src=x");

  await page.goto("/playground");
  await page.getByLabel("Model").click();
  expect(await harmful()).toEqual(HARMLESS);

  const events = [
    { seq: 1, at: 1, type: "run.queued", run_id: HTML },
    { seq: 2, at: 2, type: "run.started", sandbox_id: HTML },
    { seq: 3, at: 3, type: "reasoning.delta", text: MARKDOWN },
    { seq: 4, at: 4, type: "tool.call", id: HTML, name: HTML, input: { [HTML]: HTML } },
    { seq: 5, at: 5, type: "log", level: "warn", text: MARKDOWN },
    { seq: 6, at: 6, type: "run.failed", error: { ...error, code: "tool_crashed", retry_at: HTML } },
  ];
  const id = "run_aaaaaaaaaaaaaaaa";
  await page.route(`**/api/v1/runs/${id}`, (route) =>
    route.fulfill({
      json: {
        id,
        user_id: "usr_a",
        provider: HTML,
        model: HTML,
        status: "failed",
        prompt: MARKDOWN,
        text: null,
        error,
        metadata: { [HTML]: HTML },
        created_at: "2026-11-23T00:00:00Z",
      },
    }),
  );
  await page.route(`**/api/v1/runs/${id}/network`, (route) =>
    route.fulfill({
      json: {
        hosts: [{ host: HTML, connections: 0, denied: 1, failed: 0, reason: MARKDOWN, bytes_up: 0, bytes_down: 0 }],
        connections: [],
      },
    }),
  );
  await page.route(`**/api/v1/runs/${id}/files*`, (route) =>
    route.fulfill({ json: { items: [{ path: `../../${HTML}`, size: 1 }], next_cursor: null } }),
  );
  await page.route(`**/api/v1/runs/${id}/events*`, (route) =>
    route.fulfill({
      contentType: "text/event-stream",
      body: events
        .map((event) => `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
        .join(""),
    }),
  );
  await page.goto(`/runs/${id}`);
  await page.getByText("It failed").waitFor();
  await page.getByText("What it thought").click();
  await shownAsText("<img src=x");
  // Its name on the server stays below this run.
  const href = await page.getByRole("link", { name: /\.\.\/\.\.\// }).getAttribute("href");
  expect(new URL(href ?? "", server.url).pathname.startsWith("/api/")).toBe(true);
  await page.getByRole("tab", { name: "Events" }).click();
  for (const type of ["tool.call", "run.failed", "log"]) await page.getByText(type, { exact: true }).click();
  await shownAsText("window.pwned=1");
  await page.unrouteAll();
});

it("did nothing on the way that its policy forbids, and asked nobody else", () => watched.sound());
