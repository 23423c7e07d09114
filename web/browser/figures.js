// How soon the dashboard is there, on a processor slowed four times. Prints figures as JSON on one line.
import { existsSync, readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const SLOWED = 4;
const LOADS = Number(process.env.POLYDEV_BENCH_LOADS ?? 10);
/** How long the page's thread is to be free of long tasks, ms. */
const QUIET = 500;

const link = process.env.POLYDEV_SETUP_LINK;
if (!link) throw new Error("POLYDEV_SETUP_LINK is the link of a server that nobody uses yet");
const origin = new URL(link).origin;
const path = ["/usr/bin/chromium", "/usr/bin/google-chrome"].find((path) => existsSync(path));
const browser = await chromium.launch({ executablePath: path, args: ["--no-sandbox"] });

/**
 * Opens a page in a window of its own, and tells when it was there.
 * @param {import("playwright-core").BrowserContext} context
 * @param {string} url
 * @param {string} there what is on it then
 */
async function load(context, url, there) {
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  await devtools.send("Emulation.setCPUThrottlingRate", { rate: SLOWED });
  await devtools.send("Network.enable");
  let bytes = 0;
  let requests = 0;
  devtools.on("Network.loadingFinished", ({ encodedDataLength }) => {
    bytes += encodedDataLength;
    requests += 1;
  });
  await page.addInitScript(() => {
    const tasks = /** @type {{ start: number, took: number }[]} */ ([]);
    Object.assign(window, { tasks });
    new PerformanceObserver((list) => {
      for (const { startTime, duration } of list.getEntries()) tasks.push({ start: startTime, took: duration });
    }).observe({ type: "longtask", buffered: true });
  });
  await page.goto(url);
  const told = await page.evaluate(
    async ({ there, quiet }) => {
      const tasks = /** @type {{ tasks: { start: number, took: number }[] }} */ (/** @type {unknown} */ (window)).tasks;
      const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
      while (!document.body.innerText.includes(there)) await frame();
      const shown = performance.now();
      const free = () => Math.max(shown, ...tasks.map(({ start, took }) => start + took));
      while (performance.now() - free() < quiet) await frame();
      const paint = performance.getEntriesByName("first-contentful-paint")[0];
      return {
        first_paint_ms: paint?.startTime ?? shown,
        interactive_ms: free(),
        blocking_ms: tasks.reduce((sum, { took }) => sum + Math.max(0, took - 50), 0),
      };
    },
    { there, quiet: QUIET },
  );
  await page.close();
  return { ...told, bytes, requests };
}

// The first person, and what lets them in.
const first = await browser.newContext();
const page = await first.newPage();
await page.goto(link);
await page.getByLabel("Email").fill("ada@example.com");
await page.getByLabel("Password", { exact: true }).fill("correct horse battery");
await page.getByLabel("The password again").fill("correct horse battery");
await page.getByRole("button", { name: "Make the account" }).click();
await page.getByRole("heading", { name: "Dashboard" }).waitFor();
const storageState = await first.storageState();

const cold = [];
const warm = [];
const empty = [];
for (let at = 0; at < LOADS; at += 1) {
  const context = await browser.newContext({ storageState });
  cold.push(await load(context, `${origin}/`, "Nothing ran yet"));
  warm.push(await load(context, `${origin}/`, "Nothing ran yet"));
  empty.push(await load(context, `${origin}/healthz`, "ok"));
  await context.close();
}
await browser.close();
const sizes = JSON.parse(readFileSync("dist/.vite/sizes.json", "utf8"));
process.stdout.write(`${JSON.stringify({ sizes, cold, warm, empty })}\n`);
