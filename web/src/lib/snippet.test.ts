import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { type Ask, type Language, shellWord, snippet } from "./snippet";

/** What no quoting may stumble over. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: that is the point
const AWKWARD = 'it\'s "$HOME" `id` \\n \\\n!! é 🌍 ${x} {y} %s </script>';

const asks: Ask[] = [
  { provider: "claude", prompt: "What is 2+2?" },
  { provider: "claude", prompt: AWKWARD, model: "a-model", system: AWKWARD, tools: "none" },
  { provider: "codex", prompt: "read them", files: ["a.txt", 'it\'s "b" $x.txt'] },
];

/** Runs a snippet where these files are: the body and the key that a server got, and what was printed. */
async function run(language: Language, ask: Ask): Promise<{ body: unknown; key?: string; printed: string }> {
  const dir = mkdtempSync(join(tmpdir(), "snippet-"));
  const got: { body: unknown; key?: string } = { body: null };
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      got.body = JSON.parse(Buffer.concat(pieces).toString());
      got.key = request.headers.authorization;
      response.setHeader("content-type", "text/event-stream");
      response.end('data: {"type":"text.delta","text":"hi"}\n\ndata: {"type":"run.completed"}\n\n');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  for (const path of ask.files ?? []) writeFileSync(join(dir, path), `content of ${path}`);
  const text = snippet(language, ask, origin);
  const [program, file] = { curl: ["bash", "a.sh"], Python: ["python3", "a.py"], TypeScript: ["node", "a.mjs"] }[
    language
  ] as [string, string];
  // Node 20 reads no types: what is left without the two that there may be is JavaScript.
  writeFileSync(join(dir, file), language === "TypeScript" ? text.replaceAll("(path: string)", "(path)") : text);
  const { promisify } = await import("node:util");
  const { execFile } = await import("node:child_process");
  const done = await promisify(execFile)(program, [file], {
    cwd: dir,
    env: { PATH: process.env.PATH, POLYDEV_API_KEY: "pdv_test", NO_PROXY: "*" },
  });
  server.close();
  rmSync(dir, { recursive: true });
  return { ...got, printed: done.stdout };
}

for (const language of ["curl", "Python", "TypeScript"] as const) {
  it(`${language} asks for the same, whatever is in it`, async () => {
    if (language === "curl") execFileSync("curl", ["--version"]);
    for (const ask of asks) {
      const { body, key, printed } = await run(language, ask);
      const files = ask.files?.map((path) => ({
        path,
        content_base64: Buffer.from(`content of ${path}`).toString("base64"),
      }));
      expect(body).toEqual(files ? { ...ask, files } : ask);
      expect(key).toBe("Bearer pdv_test");
      expect(printed).toContain("hi");
    }
  });
}

it("quotes words of a shell only where it must", () => {
  expect(shellWord("http://127.0.0.1:4000/api")).toBe("http://127.0.0.1:4000/api");
  expect(shellWord("it's")).toBe("'it'\\''s'");
});
