import type { Locator, Page } from "playwright-core";
import { expect } from "vitest";

/** The desktop that a page shows. */
export const desktopOf = (page: Page): Locator => page.getByRole("application", { name: /^The desktop to sign in/ });

/** All that the terminal shows, by its own keys for *select all* and *copy*, and the browser's clipboard. */
export async function shown(page: Page): Promise<string> {
  await page.keyboard.press("Control+Shift+A");
  await page.keyboard.press("Control+Shift+C");
  return page.evaluate(() => navigator.clipboard.readText());
}

/** Waits until the terminal shows this. */
export const shows = (page: Page, text: string | RegExp) =>
  expect.poll(() => shown(page), { timeout: 20_000 }).toMatch(text);

/** The middle of the provider's green button to agree, in the window, once the desktop shows it. */
async function button(page: Page): Promise<{ x: number; y: number } | null> {
  const find = (canvas: HTMLCanvasElement) => {
    const { width, height } = canvas;
    // What comes over the wire is as good as a photograph.
    const near = (at: number, ...colour: number[]) =>
      colour.every((part, n) => Math.abs((pixels[at + n] ?? 0) - part) < 24);
    const pixels = canvas.getContext("2d")?.getImageData(0, 0, width, height).data ?? new Uint8ClampedArray();
    let [left, top, right, bottom, count] = [width, height, 0, 0, 0];
    for (let at = 0; at < pixels.length; at += 4) {
      if (!near(at, 0x14, 0x53, 0x2d)) continue;
      const [x, y] = [(at / 4) % width, Math.floor(at / 4 / width)];
      [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
      count += 1;
    }
    const place = canvas.getBoundingClientRect();
    const scale = place.width / width;
    if (count < 500) return null;
    return { x: place.left + (scale * (left + right)) / 2, y: place.top + (scale * (top + bottom)) / 2 };
  };
  // The canvas is gone once somebody has signed in.
  return desktopOf(page)
    .evaluate(find, null, { timeout: 1000 })
    .catch(() => null);
}

/** Waits until the desktop's Firefox shows the provider's page. */
export const showsPage = (page: Page) =>
  expect.poll(() => button(page), { timeout: 30_000, interval: 250 }).not.toBeNull();

/** For how long a press of a button may do nothing, ms, until it is taken for one that a page overheard which was not all there. */
const OVERHEARD = 4000;

/** Presses the provider's button to agree, as soon as it is there. */
export async function authorizes(page: Page): Promise<void> {
  await showsPage(page);
  let pressed = 0;
  const isGone = async () => {
    const at = await button(page);
    if (at && Date.now() - pressed > OVERHEARD) {
      pressed = Date.now();
      await page.mouse.click(at.x, at.y);
    }
    return !at;
  };
  await expect.poll(isGone, { timeout: 30_000, interval: 250 }).toBe(true);
}

/** Goes from Firefox back to the terminal by its button on the desktop's panel, which a hand that is too quick may miss. */
export async function toTerminal(page: Page): Promise<void> {
  const isBlack = (canvas: HTMLCanvasElement) => {
    const low = canvas.getContext("2d")?.getImageData(canvas.width / 2, canvas.height - 50, 1, 1).data;
    return low?.slice(0, 3).every((part) => part < 50) ?? false;
  };
  const isThere = async () => {
    if (await desktopOf(page).evaluate(isBlack)) return true;
    await desktopOf(page).click({ position: { x: 330, y: 15 } });
    return false;
  };
  await expect.poll(isThere, { interval: 1000, timeout: 20_000 }).toBe(true);
}
