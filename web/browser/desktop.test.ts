import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { axe, close, launch, picture, Watched } from "./chromium";
import { authorizes, shown } from "./desk";
import { ask, prompt, setUp } from "./person";
import { Server } from "./server";
import { Wire } from "./wire";

let wire: Wire;
let server: Server;
let browser: Browser;
let watched: Watched;
let page: Page;
let login = "";

beforeAll(async () => {
  wire = await Wire.lay();
  [server, browser] = await Promise.all([Server.start("[pool]\ndesktop = 0\n", wire.url), launch()]);
  wire.to = new URL(server.url).host;
  watched = await Watched.open(browser, wire.url);
  await watched.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: wire.url });
  page = watched.page;
  await setUp(page, server);
});

afterAll(async () => {
  await close(browser);
  await server?.stop();
  await wire?.close();
});

const desktop = () => page.getByRole("application", { name: "The desktop to sign in to Claude Code" });
const lost = () => page.getByText("The connection to the desktop is lost.");

/** The pixels that the desktop has, and the room that it is shown in. */
const sizes = () =>
  desktop().evaluate((canvas: HTMLCanvasElement) => {
    const { width, height } = canvas.getBoundingClientRect();
    const place = canvas.parentElement as HTMLElement;
    return {
      pixels: [canvas.width, canvas.height],
      shown: [Math.round(width), Math.round(height)],
      place: [place.clientWidth, place.clientHeight],
    };
  });

/** What is on the screen, below the panel with its clock. */
const screen = () =>
  desktop().evaluate((canvas: HTMLCanvasElement) => {
    const part = document.createElement("canvas");
    [part.width, part.height] = [canvas.width, canvas.height - 40];
    part.getContext("2d")?.drawImage(canvas, 0, -40);
    return part.toDataURL();
  });

/** Does something on an empty terminal, and waits until it shows: what is pasted is fetched when the desktop wants it. */
async function shownOf(act: () => Promise<void>): Promise<void> {
  await page.keyboard.type("clear\n");
  let before = "";
  const still = async () => {
    const last = before;
    before = await screen();
    return before === last;
  };
  await expect.poll(still, { interval: 500, timeout: 20_000 }).toBe(true);
  await act();
  await expect.poll(async () => (await screen()) === before, { timeout: 20_000 }).toBe(false);
}

/** Waits until the terminal shows this. */
const shows = (text: string | RegExp) => expect.poll(() => shown(page), { timeout: 20_000 }).toMatch(text);

it("leads to a desktop, and back to it", async () => {
  await page.goto("/connect/claude");
  await page.getByRole("button", { name: "Open a desktop" }).click();
  await page.waitForURL(/\/logins\/lgn_/);
  login = new URL(page.url()).pathname.split("/").at(-1) ?? "";
  await desktop().waitFor({ timeout: 60_000 });
  // It stays open for who goes elsewhere, and the dashboard offers to go on.
  await page.getByRole("link", { name: /^To the dashboard/ }).click();
  const card = page.getByRole("article", { name: "Claude Code" });
  await card.getByRole("link", { name: "Go on signing in" }).click();
  await desktop().waitFor({ timeout: 60_000 });
  expect(await page.title()).toBe("Sign in to Claude Code · Polydev");
  await page.getByText("claude auth login").first().waitFor();
  await page
    .getByText(/^Connection:/)
    .first()
    .waitFor();
  // Whoever comes here may type at once.
  await expect.poll(() => desktop().evaluate((canvas) => canvas === document.activeElement)).toBe(true);
});

it("takes keys, and what they do is read back", async () => {
  await page.keyboard.type("echo $((17*23))\n");
  await shows(/^391$/m);
  // A layout that has no key of its own for these in the desktop: what counts is what is typed.
  const devtools = await watched.context.newCDPSession(page);
  await page.keyboard.type("printf '%s|' ");
  for (const [key, code] of [
    ["é", "Digit2"],
    ["ß", "Minus"],
    ["€", "KeyE"],
    ["z", "KeyY"],
    ["я", "KeyZ"],
  ]) {
    for (const type of ["keyDown", "keyUp"] as const) {
      await devtools.send("Input.dispatchKeyEvent", { type, key, code, ...(type === "keyDown" && { text: key }) });
    }
  }
  // The desktop's keyboard was given keys for them: what is typed on goes by the new one once they have arrived.
  await shows("éß€zя");
  await page.keyboard.type(" end\n");
  await shows(/^éß€zя\|end\|/m);
});

it("has the size of the window, or is shown in it", async () => {
  await page.setViewportSize({ width: 1100, height: 700 });
  await expect.poll(async () => (await sizes()).pixels).toEqual((await sizes()).place);
  await page.keyboard.type("clear; stty size\n");
  await shows(/^\d+ \d+$/m);
  const before =
    /^(\d+) (\d+)$/m
      .exec(await shown(page))
      ?.slice(1)
      .map(Number) ?? [];
  await page.setViewportSize({ width: 1600, height: 900 });
  await expect.poll(async () => (await sizes()).pixels[0]).toBe(1600);
  await expect
    .poll(
      async () => {
        await page.keyboard.type("clear; stty size\n");
        return Number(/^\d+ (\d+)$/m.exec(await shown(page))?.[1] ?? 0);
      },
      { timeout: 20_000 },
    )
    .toBeGreaterThan((before[1] ?? 0) + 30);

  const how = page.getByLabel("How the desktop is shown");
  await how.selectOption("Fit it");
  await page.setViewportSize({ width: 1000, height: 800 });
  await expect.poll(async () => (await sizes()).shown[0]).toBe(1000);
  expect((await sizes()).pixels[0]).toBe(1600);
  await how.selectOption("1:1");
  await expect.poll(async () => (await sizes()).shown[0]).toBe(1600);
  await how.selectOption("Resize it");
  await expect.poll(async () => (await sizes()).pixels).toEqual((await sizes()).place);
  await page.setViewportSize({ width: 1280, height: 800 });
  await expect.poll(async () => (await sizes()).pixels[0]).toBe(1280);
});

it("copies and pastes both ways", async () => {
  await desktop().focus();
  await shownOf(async () => {
    await page.evaluate(() => navigator.clipboard.writeText("echo 'from the page: ✓ é'"));
    await page.keyboard.press("Control+Shift+V");
  });
  await page.keyboard.press("Enter");
  await shows(/^from the page: ✓ é$/m);
  // From the panel, as where the browser lets a page do nothing.
  await shownOf(async () => {
    await page.getByRole("button", { name: "Clipboard" }).click();
    const heard = await page.getByLabel("From the desktop", { exact: true }).inputValue();
    expect(heard).toContain("from the page: ✓ é");
    await page.getByLabel("Into the desktop", { exact: true }).fill("echo by the panel | tr a-z A-Z");
    await page.getByRole("button", { name: "Paste it there" }).click();
  });
  await page.keyboard.press("Enter");
  await shows(/^BY THE PANEL$/m);
});

it("has the keys that a browser keeps, and lets go of the keyboard", async () => {
  await page.keyboard.type("clear; echo busy; sleep 1000\n");
  await shows(/^busy$/m);
  await page.getByRole("button", { name: "Keys" }).click();
  await page.getByRole("button", { name: "Ctrl-C" }).click();
  await page.getByRole("button", { name: "Ctrl-Alt-Del" }).click();
  await page.keyboard.press("Escape");
  expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-label"))).toBe("Keys");
  await desktop().focus();
  await page.keyboard.type("clear; echo out of it\n");
  await shows(/^out of it$/m);
  // Tab is the desktop's; the way out is told.
  await page.keyboard.press("Tab");
  expect(await desktop().evaluate((canvas) => canvas === document.activeElement)).toBe(true);
  for (const key of ["Control", "Alt", "Shift"]) await page.keyboard.down(key);
  for (const key of ["Shift", "Alt", "Control"]) await page.keyboard.up(key);
  expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-label"))).toBe(
    "How the desktop is shown",
  );
  await page.keyboard.press("Shift+Tab");
  expect(await desktop().evaluate((canvas) => canvas === document.activeElement)).toBe(false);
  // No key is left down there.
  await desktop().focus();
  await page.keyboard.type("clear; echo None Is Held\n");
  await shows(/^None Is Held$/m);
});

it("goes on where it was when the network was gone for ten seconds", async () => {
  await page.keyboard.type("clear; echo before; sleep 5; echo meanwhile\n");
  await shows(/^before$/m);
  wire.cut();
  const from = Date.now();
  await lost().waitFor();
  await picture(page, "desktop-lost");
  await page.getByText("No connection to the server.").waitFor();
  await expect.poll(() => Date.now() - from, { timeout: 12_000, interval: 500 }).toBeGreaterThan(10_000);
  wire.mend();
  await lost().waitFor({ state: "detached", timeout: 20_000 });
  await desktop().focus();
  await page.keyboard.type("echo after\n");
  await shows(/^before\nmeanwhile\n(.*\n)*after$/m);
});

it("is in one window at a time", async () => {
  const other = await watched.context.newPage();
  await other.goto(`/logins/${login}`);
  await other.getByRole("application").waitFor();
  await page.getByText("Another window shows this desktop.").waitFor();
  await page.bringToFront();
  await page.getByRole("button", { name: "Show it here" }).click();
  await desktop().waitFor();
  await other.getByText("Another window shows this desktop.").waitFor();
  await other.close();
});

it("works by touch, with the keyboard of the screen, as large as can be read", async () => {
  const phone = await Watched.open(browser, wire.url, {
    storageState: await watched.context.storageState(),
    viewport: { width: 390, height: 844 },
    hasTouch: true,
    isMobile: true,
  });
  await phone.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: wire.url });
  await phone.page.goto(`/logins/${login}`);
  const screen = phone.page.getByRole("application");
  await expect.poll(() => screen.evaluate((canvas: HTMLCanvasElement) => canvas.width)).toBe(780);
  await expect.poll(() => screen.evaluate((canvas) => Math.round(canvas.getBoundingClientRect().width))).toBe(390);
  await phone.page.getByRole("button", { name: "Keyboard on the screen" }).tap();
  // A keyboard on a screen writes words, and corrects them.
  await phone.page.keyboard.insertText("clear; echo tuoch");
  for (let at = 0; at < 4; at += 1) await phone.page.keyboard.press("Backspace");
  await phone.page.keyboard.insertText("ouch");
  await phone.page.keyboard.press("Enter");
  await screen.focus();
  await expect.poll(() => shown(phone.page), { timeout: 20_000 }).toMatch(/^touch$/m);
  await phone.close();
  await page.bringToFront();
  await page.getByRole("button", { name: "Show it here" }).click();
  await desktop().waitFor();
});

it("looks well at every size, with nothing that axe finds", async () => {
  const wrong: string[] = [];
  const look = async (name: string) => {
    for (const [width, height] of [
      [390, 844],
      [1280, 800],
      [1920, 1080],
    ] as const) {
      await page.setViewportSize({ width, height });
      // It is as large as its place; in one below 450 px it is twice that, and shown as small as it.
      await expect.poll(async () => (await sizes()).pixels[0]).toBe(width < 450 ? 2 * width : width);
      await expect.poll(async () => (await sizes()).shown[0]).toBe(width);
      for (const scheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
        const at = `${name}-${width}x${height}-${scheme}`;
        wrong.push(...(await axe(page, scheme === "light" ? "all" : "colours")).map((found) => `${at}: ${found}`));
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        if (wide > 0) wrong.push(`${at}: it is ${wide} px wider than the window`);
        await picture(page, at);
      }
    }
  };
  await look("desktop");
  for (const panel of ["Clipboard", "Keys"]) {
    await page.getByRole("button", { name: panel, exact: true }).click();
    await look(`desktop-${panel.toLowerCase()}`);
    await page.keyboard.press("Escape");
  }
  expect(wrong).toEqual([]);
});

it("asks before another account takes the place of the one that is connected", async () => {
  const said = [
    { type: "login.verifying" },
    { type: "login.checked", command: "claude auth status", exit_code: 0, said: "Logged in" },
    { type: "login.other_account", account: "eve@example.com", before: "ada@example.com" },
  ];
  const frames = said.map(
    (event, at) => `id: ${at + 1}\ndata: ${JSON.stringify({ seq: at + 1, at: 0, ...event })}\n\n`,
  );
  await page.route(`**/logins/${login}/events?*`, (route) =>
    route.fulfill({ contentType: "text/event-stream", body: frames.join("") }),
  );
  const agreed: unknown[] = [];
  await page.route(`**/logins/${login}/confirm`, (route) => {
    agreed.push(route.request().postDataJSON());
    const error = { code: "conflict", message: "nothing is asked about this account" };
    return route.fulfill({ status: 409, json: { error } });
  });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.reload();
  await page.getByText("You have signed in to Claude Code as eve@example.com.").waitFor();
  await page
    .getByText(/^Connection:/)
    .first()
    .waitFor();
  expect(await axe(page, "all")).toEqual([]);
  await picture(page, "desktop-other-account");
  await page.getByRole("button", { name: "Connect this account" }).click();
  await page.getByText("Nothing is asked about this account.").waitFor();
  expect(agreed).toEqual([{ account: "eve@example.com" }]);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.reload();
  await desktop().waitFor();
});

it("lasts longer when it is asked to, and ends when it is told to", async () => {
  await page.setViewportSize({ width: 1280, height: 800 });
  const until = async () => (await ask<{ expires_at: string }>(page, "GET", `/logins/${login}`)).expires_at;
  const before = Date.parse(await until());
  await page.getByRole("button", { name: "Extend" }).click();
  await expect.poll(async () => Date.parse(await until()) - before).toBe(300_000);
  const left = async () => {
    const [, minutes, seconds] = /(\d+):(\d+)/.exec((await page.getByRole("timer").textContent()) ?? "") ?? [];
    return Number(minutes) * 60 + Number(seconds);
  };
  // What the clock shows is what there is, but for the moment between the two.
  await expect
    .poll(async () => Math.abs((Date.parse(await until()) - Date.now()) / 1000 - (await left())))
    .toBeLessThan(5);
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Destroy the desktop" }).click();
  await page.getByText("It was cancelled").waitFor();
  await page.getByRole("button", { name: "Open a new desktop" }).click();
  await page.waitForURL((url) => url.pathname.startsWith("/logins/") && !url.pathname.endsWith(login));
  await desktop().waitFor({ timeout: 60_000 });
});

it("is where somebody signs in, with the tool and a browser, and is connected", async () => {
  // Its dashboard is told of it meanwhile.
  const dashboard = await watched.context.newPage();
  await dashboard.goto("/");
  const card = dashboard.getByRole("article", { name: "Claude Code" });
  await card.getByRole("link", { name: "Go on signing in" }).waitFor();
  await page.bringToFront();
  await page
    .getByText(/^Connection:/)
    .first()
    .waitFor();
  await page.getByRole("button", { name: "Type it for me" }).click();
  await authorizes(page);
  await page.getByRole("heading", { name: "Successfully connected" }).waitFor();
  await page.getByText(/as .*@.*by signing in here/).waitFor();
  await picture(page, "login-connected-for-real");
  await dashboard.bringToFront();
  await card.getByText("Connected").waitFor();
  await card.getByRole("link", { name: "Go on signing in" }).waitFor({ state: "detached" });
  await dashboard.close();
  await page.bringToFront();
  await page.getByRole("link", { name: "Ask it something" }).click();
  await prompt(page, "What is 17*23?");
  await page.getByRole("region", { name: "The answer" }).getByText("391").waitFor({ timeout: 30_000 });
  await watched.close();
});
