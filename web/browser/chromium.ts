import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { expect } from "vitest";
import { PICTURES } from "./server";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The distribution's own Chromium. As root it cannot make its own sandbox. */
export function launch(): Promise<Browser> {
  const path = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
  if (!path) throw new Error("no Chromium is installed: `scripts/setup test` installs it");
  return chromium.launch({ executablePath: path, args: ["--no-sandbox"] });
}

/** How long Chromium may take to close something, ms: it has been seen to answer never. */
const CLOSES_WITHIN = 10_000;

/** Closes a browser or a part of one. What does not close ends with the process of the tests. */
export async function close(what: { close: () => Promise<void> } | undefined): Promise<void> {
  let late: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([
    what?.close(),
    new Promise((resolve) => {
      late = setTimeout(resolve, CLOSES_WITHIN);
    }),
  ]);
  clearTimeout(late);
}

/** A page, and others beside it, whose every fault is kept: what breaks its policy, what it throws, what it asks of another origin. */
export class Watched {
  readonly faults: string[] = [];

  private constructor(
    readonly context: BrowserContext,
    readonly page: Page,
    readonly origin: string,
  ) {}

  static async open(
    browser: Browser,
    origin: string,
    options: Parameters<Browser["newContext"]>[0] = {},
  ): Promise<Watched> {
    const context = await browser.newContext({ baseURL: origin, viewport: { width: 1280, height: 800 }, ...options });
    // What a page says when its policy is broken goes to the console too; this has what it was.
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
      });
    });
    const page = await context.newPage();
    const watched = new Watched(context, page, origin);
    context.on("weberror", (thrown) => watched.faults.push(`it threw ${thrown.error().message}`));
    context.on("dialog", (dialog) => {
      watched.faults.push(`it opened a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    context.on("console", (message) => {
      // An answer that is an error, or none, is looked at by the test that asks for it.
      if (message.type() !== "error" || /^(Failed to load resource|WebSocket connection to)/.test(message.text()))
        return;
      watched.faults.push(`the console: ${message.text()}`);
    });
    context.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(`${origin}/`) && !url.startsWith("blob:")) watched.faults.push(`it asked for ${url}`);
    });
    return watched;
  }

  /** Fails where anything was wrong. */
  sound(): void {
    expect(this.faults).toEqual([]);
  }

  async close(): Promise<void> {
    await close(this.context);
    this.sound();
  }
}

/** What axe holds a page to: WCAG 2.2 AA and its own good practice; or what depends on colours alone. */
const ALL = { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] };
const COLOURS = { runOnly: { type: "rule", values: ["color-contrast", "link-in-text-block"] } };

/** What axe finds wrong, in a few words each. */
export async function axe(page: Page, what: "all" | "colours"): Promise<string[]> {
  // Evaluated by the debugger, so that the page's policy stays as it is.
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
  // A colour on its way to another is none of the page's; what goes on for ever (a spinner) is not waited for.
  await page.evaluate(async () => {
    const ends = (it: Animation) => it.effect?.getComputedTiming().endTime !== Number.POSITIVE_INFINITY;
    await Promise.all(
      document
        .getAnimations()
        .filter(ends)
        .map((it) => it.finished.catch(() => {})),
    );
  });
  return page.evaluate(
    async (how) => {
      type Found = { violations: { id: string; nodes: { target: unknown[]; failureSummary?: string }[] }[] };
      const { axe } = window as unknown as { axe: { run: (where: Document, how: object) => Promise<Found> } };
      const { violations } = await axe.run(document, { ...how, resultTypes: ["violations"] });
      return violations.flatMap(({ id, nodes }) =>
        nodes.map(
          ({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary?.split("\n")[1]?.trim()}`,
        ),
      );
    },
    what === "all" ? ALL : COLOURS,
  );
}

/** Keeps a picture of all of a page: the window grows until nothing is left to scroll. */
export async function picture(page: Page, name: string): Promise<void> {
  const size = page.viewportSize() ?? { width: 1280, height: 800 };
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  if (height > size.height) await page.setViewportSize({ width: size.width, height: Math.min(height, 4000) });
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: join(PICTURES, `${name}.png`), animations: "disabled" });
  if (height > size.height) await page.setViewportSize(size);
}
