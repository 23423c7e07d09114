// What pages of other origins can do in a real browser, of which somebody is signed in: to Polydev, and to a server
// without any protection, where all of it works. Prints one JSON object; `foreign.rs` starts it, and says what must be.
//
//   node foreign.mjs WEB   with the rest as JSON on standard input: { base, key, cookie, run, spares }
//
// WEB is the folder whose `node_modules` has playwright-core.

import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { connect, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";

const { chromium } = createRequire(join(process.argv[2], "package.json"))("playwright-core");
const victim = JSON.parse(await text(process.stdin));
const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=", "base64");

/** Serves on a port of its own. */
async function listen(answer) {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, port: server.address().port };
}

/** A server that does and tells everybody everything. */
async function naive() {
  const done = new Set();
  const { server, port } = await listen(async (request, response) => {
    const { origin } = request.headers;
    if (origin) {
      response.setHeader("access-control-allow-origin", origin);
      response.setHeader("access-control-allow-credentials", "true");
      response.setHeader("access-control-allow-headers", "content-type");
      response.setHeader("access-control-allow-methods", "GET, POST, DELETE");
    }
    const body = await text(request);
    if (request.method === "POST") done.add(JSON.parse(body).name);
    if (request.method === "DELETE") done.add(request.url.split("/").pop());
    const kind = /\.(js|css|png)$|\/events$/.exec(request.url)?.[0];
    const [type, content] = {
      ".js": ["text/javascript", "window.foreign = 1"],
      ".css": ["text/css", "body { --foreign: 1 }"],
      ".png": ["image/png", PNG],
      "/events": ["text/event-stream", "data: {}\n\n"],
    }[kind] ?? ["text/plain", "window.foreign = 1"];
    response.setHeader("content-type", type);
    response.end(request.method === "OPTIONS" ? "" : content);
  });
  server.on("upgrade", (request, socket) => {
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
    const head = `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n`;
    socket.on("error", () => {});
    socket.write(`${head}sec-websocket-accept: ${accept.digest("base64")}\r\n\r\n`);
    socket.write(Buffer.from([0x81, 2, 0x7b, 0x7d]));
  });
  return { base: `http://127.0.0.1:${port}`, done: async (name) => done.has(name) };
}

/** Polydev: done is what it shows to whom it concerns. */
const polydev = {
  base: victim.base,
  done: async (name) => {
    const ask = (path) => fetch(`${victim.base}/api/v1${path}`, { headers: { authorization: `Bearer ${victim.key}` } });
    const keys = (await (await ask("/keys?limit=200")).json()).items;
    return keys.some((key) => key.name === name || (key.id === name && key.revoked_at !== null));
  },
};

/** What a page asks for. The paths are Polydev's; the other server answers all. */
const READ = "/api/v1/me";
const KEYS = "/api/v1/keys";
const SOCKET = `/api/v1/runs/${victim.run}/stream`;
const STREAM = "/api/v1/events";
const FRAMES = ["/", "/signin", "/docs/", READ, "/healthz"];

/**
 * Attacks: each takes the attacker's page and the server, and tells whether it worked. `tag` is what it is to make,
 * `spare` a key that it is to end.
 */
const ATTACKS = {
  read: ({ page, base }) => read(page, base + READ, { credentials: "include" }),
  read_from_the_cache: ({ page, base }) => read(page, base + READ, { credentials: "include", cache: "force-cache" }),
  read_what_all_may_see: ({ page, base }) => read(page, `${base}/readyz`, {}),
  load_unread: ({ page, base }) =>
    page.evaluate((url) => {
      return fetch(url, { mode: "no-cors", credentials: "include" }).then(() => true, () => false);
    }, base + READ),
  load_a_script: ({ page, base }) => load(page, "script", "src", `${base}/docs/swagger-ui-bundle.js`),
  load_an_answer_as_a_script: ({ page, base }) => load(page, "script", "src", base + READ),
  load_a_picture: ({ page, base }) => load(page, "img", "src", `${base}/docs/favicon-32x32.png`),
  load_a_style: ({ page, base }) => load(page, "link", "href", `${base}/docs/swagger-ui.css`),

  post_as_text: async ({ page, base, tag, done }) => {
    const send = { method: "POST", mode: "no-cors", credentials: "include", body: JSON.stringify({ name: tag }) };
    await page.evaluate(([url, send]) => fetch(url, send).catch(() => {}), [base + KEYS, send]);
    return done(tag);
  },
  post_as_json: async ({ page, base, tag, done }) => {
    const headers = { "content-type": "application/json" };
    const send = { method: "POST", credentials: "include", headers, body: JSON.stringify({ name: tag }) };
    await page.evaluate(([url, send]) => fetch(url, send).catch(() => {}), [base + KEYS, send]);
    return done(tag);
  },
  post_by_beacon: async ({ page, base, tag, done }) => {
    const [url, body] = [base + KEYS, JSON.stringify({ name: tag })];
    const ended = (event) => page.waitForEvent(event, (request) => request.url() === url);
    const answered = Promise.any([ended("requestfinished"), ended("requestfailed")]);
    await page.evaluate(
      ([url, body]) => navigator.sendBeacon(url, new Blob([body], { type: "text/plain" })),
      [url, body],
    );
    await answered;
    return done(tag);
  },
  post_by_form: async ({ page, base, tag, done }) => {
    const answered = page.waitForResponse(base + KEYS);
    await page.evaluate(
      ([action, tag]) => {
        const form = Object.assign(document.createElement("form"), { method: "post", enctype: "text/plain", action });
        // A form sends `name=value`: the sign stands in a text.
        form.append(Object.assign(document.createElement("input"), { name: `{"name":"${tag}`, value: '"}' }));
        document.body.append(form);
        form.submit();
      },
      [base + KEYS, tag],
    );
    await answered;
    return done(`${tag}=`);
  },
  end_a_key: async ({ page, base, spare, done }) => {
    const url = `${base}${KEYS}/${spare}`;
    await page.evaluate((url) => fetch(url, { method: "DELETE", credentials: "include" }).catch(() => {}), url);
    return done(spare);
  },

  socket: ({ page, base }) => hear(page, (base + SOCKET).replace("http", "ws")),
  stream: ({ page, base }) =>
    page.evaluate((url) => new Promise((resolve) => {
      const stream = new EventSource(url, { withCredentials: true });
      stream.onopen = () => resolve(true);
      stream.onerror = () => resolve(false);
    }), base + STREAM),

  frame: async ({ page, base }) => {
    for (const path of FRAMES) {
      for (const [tag, attribute] of [["iframe", "src"], ["object", "data"], ["embed", "src"]]) {
        const seen = await page.evaluate(([tag, attribute, url]) => new Promise((resolve) => {
          const frame = document.createElement(tag);
          frame.onload = () => resolve(true);
          frame.onerror = () => resolve(false);
          frame.setAttribute(attribute, url);
          document.body.append(frame);
        }), [tag, attribute, base + path]);
        const shown = page.frames().some((frame) => frame.url().startsWith(`${base}/`));
        if (seen && shown) return true;
      }
    }
    return false;
  },
  hold_a_window: async ({ page, base }) => {
    const opened = page.context().waitForEvent("page");
    await page.evaluate((url) => {
      window.held = window.open(url);
    }, `${base}/docs/`);
    const popup = await opened;
    await popup.waitForURL(`${base}/docs/`);
    const holds = await page.evaluate(() => !window.held.closed);
    const is_held = await popup.evaluate(() => window.opener !== null);
    await popup.close();
    return holds || is_held;
  },
  learn_where_somebody_was: async ({ page, base, attacker, seen }) => {
    await page.goto(`${base}/docs/`);
    await page.evaluate((href) => {
      const link = Object.assign(document.createElement("a"), { href, textContent: "out" });
      document.body.append(link);
      link.click();
    }, `${attacker}/came-from`);
    await page.waitForURL(`${attacker}/came-from`);
    return seen() !== undefined;
  },
};

/** Whether what is there can be read. */
function read(page, url, init) {
  return page.evaluate(([url, init]) => {
    return fetch(url, init).then((answer) => answer.text()).then((text) => text.length > 0, () => false);
  }, [url, init]);
}

/** Whether a socket says something. */
function hear(page, url) {
  return page.evaluate((url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onmessage = () => resolve(true);
    socket.onclose = () => resolve(false);
  }), url);
}

/** Whether a part of another origin is loaded. */
function load(page, tag, attribute, url) {
  return page.evaluate(([tag, attribute, url]) => new Promise((resolve) => {
    const part = document.createElement(tag);
    if (tag === "link") part.rel = "stylesheet";
    part.onload = () => resolve(true);
    part.onerror = () => resolve(false);
    part[attribute] = url;
    document.body.append(part);
  }), [tag, attribute, url]);
}

/** Attacks of a page whose name leads to the server itself since it was loaded. */
const REBOUND = {
  read: (page) => page.evaluate((path) => fetch(path).then(({ status }) => status === 200), READ),
  read_what_all_may_see: (page) => page.evaluate(() => fetch("/readyz").then(({ status }) => status === 200)),
  post_as_json: async (page, { done }) => {
    const send = { method: "POST", headers: { "content-type": "application/json" }, body: '{"name":"rebound"}' };
    await page.evaluate(([url, send]) => fetch(url, send), [KEYS, send]);
    return done("rebound");
  },
  socket: (page) => hear(page, `ws://${new URL(page.url()).host}${SOCKET}`),
};

/** Where a name leads that is the attacker's to change: first to `from`, and to `to` once it is told. */
async function rebind(from, to) {
  let now = from;
  const server = createTcpServer((socket) => {
    const onward = connect(now, "127.0.0.1");
    for (const end of [socket, onward]) end.on("error", () => {});
    socket.pipe(onward).pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: server.address().port, change: () => (now = to) };
}

let referer;
const attackers = await listen((request, response) => {
  if (request.url === "/came-from") referer = request.headers.referer;
  response.writeHead(200, { "content-type": "text/html", connection: "close" });
  response.end("<body>the attacker's</body>");
});
const servers = { naive: await naive(), polydev };
const names = {};
for (const [name, server] of Object.entries(servers)) {
  const port = Number(new URL(server.base).port);
  names[name] = { host: `rebound.test:${port}`, ...(await rebind(attackers.port, port)) };
}
const rules = Object.values(names).map(({ host, port }) => `MAP ${host} 127.0.0.1:${port}`);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", `--host-resolver-rules=${[...rules, "MAP *.test 127.0.0.1"].join(", ")}`],
});
const report = { own: {}, attacks: {} };
setTimeout(() => {
  console.error(`it never ended; so far: ${JSON.stringify(report)}`);
  process.exit(1);
}, 240_000);

/** Closes a page or a context. Chromium does not always say that it has, of one that opened a page of another group. */
function closed(what) {
  return Promise.race([what.close(), new Promise((resolve) => setTimeout(resolve, 5_000).unref())]);
}

/** What became of an attack, or why nobody knows. */
function ended(attack, tried) {
  const late = new Promise((_, reject) => setTimeout(reject, 90_000, "it never ended").unref());
  return Promise.race([tried, late]).catch((error) => `${attack}: ${error}`);
}

/** A browser of somebody who is signed in, but for an attacker whose cookie it would be. */
async function signed_in() {
  const context = await browser.newContext();
  context.setDefaultTimeout(60_000);
  const cookie = { name: "polydev_session", value: victim.cookie, domain: "127.0.0.1", path: "/", httpOnly: true, sameSite: "Lax" };
  await context.addCookies([cookie]);
  return context;
}

// The control: of a page of the server's own all of it works that a page of its own does.
{
  const context = await signed_in();
  const page = await context.newPage();
  await page.goto(`${polydev.base}/docs/`);
  const own = ["read", "load_a_script", "load_a_picture", "load_a_style", "post_as_json", "end_a_key", "socket", "stream"];
  for (const attack of own) {
    report.own[attack] = await ended(attack, ATTACKS[attack]({ page, tag: `own ${attack}`, spare: victim.spares[0], ...polydev }));
  }
  report.cookie_of_scripts = await page.evaluate(() => document.cookie);
  await closed(context);
}

for (const [site, host] of [["cross_site", "evil.test"], ["same_site", "127.0.0.1"]]) {
  const attacker = `http://${host}:${attackers.port}`;
  for (const [name, server] of Object.entries(servers)) {
    const context = await signed_in();
    const results = {};
    for (const [attack, run] of Object.entries(ATTACKS)) {
      const page = await context.newPage();
      await page.goto(attacker);
      const on = { page, attacker, tag: `${site} ${attack}`, spare: victim.spares[1], seen: () => referer, ...server };
      results[attack] = await ended(attack, run(on));
      await closed(page);
    }
    report.attacks[`${site}/${name}`] = results;
    await closed(context);
  }
}

// A page whose name leads to the server itself since it was loaded.
for (const [name, server] of Object.entries(servers)) {
  const context = await signed_in();
  const page = await context.newPage();
  await page.goto(`http://${names[name].host}`);
  names[name].change();
  const results = {};
  for (const [attack, run] of Object.entries(REBOUND)) results[attack] = await ended(attack, run(page, server));
  report.attacks[`rebound/${name}`] = results;
  await closed(context);
}

console.log(JSON.stringify(report));
await closed(browser);
process.exit(0);
