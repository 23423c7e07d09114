import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const ROOT = resolve(import.meta.dirname, "../..");
const BIN = process.env.POLYDEV_BIN_DIR ?? join(ROOT, process.env.CARGO_TARGET_DIR ?? "target", "debug");
const IMAGES = process.env.POLYDEV__IMAGE__DIR ?? join(ROOT, "target/images");

/** How long a program may take to say what is waited for, and to end, ms: a test that hangs is one that fails. */
const SAYS_WITHIN = 60_000;
const ENDS_WITHIN = 20_000;

/** The first line of a program's output that gives something, or what it said instead. */
function says(
  child: ChildProcess,
  from: "stdout" | "stderr",
  want: (line: string) => string | undefined,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const heard: string[] = [];
    const stream = child[from];
    if (!stream) return reject(new Error("its output is not read"));
    const late = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`it has not said it in time:\n${heard.join("\n")}`));
    }, SAYS_WITHIN);
    createInterface({ input: stream }).on("line", (line) => {
      if (heard.length < 50) heard.push(line);
      const found = want(line);
      if (found === undefined) return;
      clearTimeout(late);
      resolve(found);
    });
    child.once("exit", () => clearTimeout(late));
    child.once("exit", () => reject(new Error(`it ended:\n${heard.join("\n")}`)));
    child.once("error", reject);
  });
}

const field = (line: string, name: string): string | undefined => {
  try {
    const value = JSON.parse(line)[name];
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
};

/** The real server with the stand-in behind it, as an operator starts them. Sandboxes need root. */
export class Server {
  readonly dir = mkdtempSync(join(tmpdir(), "polydev-web-"));
  url = "";
  #standin: ChildProcess | null = null;
  #server: ChildProcess | null = null;
  #proxy = "";

  /** Starts both; `more` are lines of configuration; browsers come by `publicUrl` where that is not its own address. */
  static async start(more = "", publicUrl?: string): Promise<Server> {
    const server = new Server();
    const standin = spawn(join(BIN, "polydev-standin"), ["--dir", join(server.dir, "standin")], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    server.#standin = standin;
    let ca = "";
    server.#proxy = await says(standin, "stdout", (line) => {
      ca = field(line, "ca_file") ?? "";
      return field(line, "proxy");
    });
    writeFileSync(
      join(server.dir, "polydev.toml"),
      `[server]\nlisten = "127.0.0.1:0"\ndata_dir = "${server.dir}/data"\ndrain_s = 1\n${publicUrl ? `public_url = "${publicUrl}"\n` : ""}\n[log]\nformat = "json"\n\n` +
        `[image]\ndir = "${IMAGES}"\n\n[egress]\nupstream_proxy = "${server.#proxy}"\n\n[sandbox]\nca_file = "${ca}"\n\n${more}`,
    );
    await server.run().catch(async (thrown) => {
      await server.stop();
      throw thrown;
    });
    return server;
  }

  /** Starts the server's process, at the address of the one before if there was one. */
  async run(): Promise<void> {
    const listen = this.url ? ["--listen", new URL(this.url).host] : [];
    const child = spawn(join(BIN, "polydev"), ["serve", ...listen], {
      env: this.#env(),
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#server = child;
    this.url = await says(child, "stderr", (line) => {
      appendFileSync(join(this.dir, "server.log"), `${line}\n`);
      const address = field(line, "address");
      return address && `http://${address}`;
    });
  }

  #env(): NodeJS.ProcessEnv {
    return {
      PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: this.dir,
      POLYDEV_CONFIG: join(this.dir, "polydev.toml"),
      // Each takes a processor for seconds.
      POLYDEV__POOL__DESKTOP: "0",
    };
  }

  /** The stand-in's proxy: by it a browser comes to the providers' pages. */
  get proxy(): string {
    return this.#proxy;
  }

  /** The link that makes the first account. */
  get setupLink(): string {
    return readFileSync(join(this.dir, "data/setup-link"), "utf8").trim();
  }

  /** Ends the server's process as a crash does. */
  async kill(): Promise<void> {
    await end(this.#server, "SIGKILL");
    this.#server = null;
  }

  /** Ends the server's process as an operator does. */
  async end(): Promise<void> {
    await end(this.#server, "SIGTERM");
    this.#server = null;
  }

  /** Runs a command of its command line. */
  command(args: string[], stdin = ""): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = spawn(join(BIN, "polydev"), args, { env: { ...this.#env(), POLYDEV_URL: this.url } });
      let out = "";
      child.stdout.on("data", (bytes) => {
        out += bytes;
      });
      child.stderr.on("data", (bytes) => {
        out += bytes;
      });
      child.once("error", reject);
      child.once("close", (code) => (code === 0 ? resolve(out.trim()) : reject(new Error(`${args[0]}: ${out}`))));
      child.stdin.end(stdin);
    });
  }

  /** Asks the stand-in about an account at a provider, or to do something to it. */
  async account(name: string, provider: string, step: string, method = "POST"): Promise<unknown> {
    const response = await fetch(`${this.#proxy}/accounts/${name}/${provider}${step}`, { method });
    if (!response.ok) throw new Error(`the stand-in: ${response.status}`);
    return response.json();
  }

  /** What the server has logged. */
  get log(): string {
    return readFileSync(join(this.dir, "server.log"), "utf8");
  }

  /** Ends both, and leaves nothing. */
  async stop(): Promise<void> {
    await end(this.#server, "SIGTERM");
    await end(this.#standin, "SIGTERM");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function end(child: ChildProcess | null, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return resolve();
    const late = setTimeout(() => child.kill("SIGKILL"), ENDS_WITHIN);
    child.once("exit", () => {
      clearTimeout(late);
      resolve();
    });
    child.kill(signal);
  });
}

/** Where pictures are kept. */
export const PICTURES = join(ROOT, "target/screenshots");
mkdirSync(PICTURES, { recursive: true });
