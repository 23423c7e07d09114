/** What a run is asked with. */
export type Ask = {
  provider: string;
  prompt: string;
  model?: string;
  system?: string;
  tools?: "none";
  files?: string[];
};

export type Language = "curl" | "Python" | "TypeScript";
export const LANGUAGES: Language[] = ["curl", "Python", "TypeScript"];

/** The same request as a program makes it. It reads its key from the environment, and the files where it is run. */
export function snippet(language: Language, ask: Ask, origin: string): string {
  switch (language) {
    case "curl":
      return curl(ask, origin);
    case "Python":
      return python(ask, origin);
    case "TypeScript":
      return typescript(ask, origin);
  }
}

/** The body but for its files. */
function plain({ provider, prompt, model, system, tools }: Ask): [string, string][] {
  const all: [string, string | undefined][] = [
    ["provider", provider],
    ["prompt", prompt],
    ["model", model],
    ["system", system],
    ["tools", tools],
  ];
  return all.filter((field): field is [string, string] => field[1] !== undefined && field[1] !== "");
}

/** A word of a shell's command line, whatever is in it. */
export const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

function curl(ask: Ask, origin: string): string {
  const files = ask.files ?? [];
  const fields = plain(ask).map(([name, value]) => `  "${name}": ${JSON.stringify(value)}`);
  const head = [
    `curl -N ${shellWord(`${origin}/api/v1/runs`)} \\`,
    `  -H "Authorization: Bearer $POLYDEV_API_KEY" \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  -H 'Accept: text/event-stream' \\`,
  ];
  if (files.length === 0) return [...head, `  -d ${shellWord(`{\n${fields.join(",\n")}\n}`)}`].join("\n");
  // What a file holds is put between two quoted pieces, where the shell reads it.
  const contents = files.map(
    (path) => `    {"path": ${JSON.stringify(path)}, "content_base64": "\0base64 -w0 < ${shellWord(path)}\0"}`,
  );
  const body = `{\n${[...fields, `  "files": [\n${contents.join(",\n")}\n  ]`].join(",\n")}\n}`;
  const pieces = body.split("\0").map((piece, at) => (at % 2 === 1 ? `"$(${piece})"` : shellWord(piece)));
  return [...head, `  -d ${pieces.join("")}`].join("\n");
}

function python(ask: Ask, origin: string): string {
  const files = ask.files ?? [];
  const fields = plain(ask).map(([name, value]) => `        "${name}": ${JSON.stringify(value)},`);
  if (files.length > 0) {
    fields.push(`        "files": [file(name) for name in [${files.map((path) => JSON.stringify(path)).join(", ")}]],`);
  }
  return [
    ...(files.length > 0 ? ["import base64"] : []),
    "import json",
    "import os",
    ...(files.length > 0 ? ["import pathlib"] : []),
    "import urllib.request",
    "",
    ...(files.length > 0
      ? [
          "def file(name):",
          `    content = base64.b64encode(pathlib.Path(name).read_bytes()).decode()`,
          `    return {"path": name, "content_base64": content}`,
          "",
        ]
      : []),
    "request = urllib.request.Request(",
    `    ${JSON.stringify(`${origin}/api/v1/runs`)},`,
    `    headers={`,
    `        "Authorization": "Bearer " + os.environ["POLYDEV_API_KEY"],`,
    `        "Content-Type": "application/json",`,
    `        "Accept": "text/event-stream",`,
    `    },`,
    `    data=json.dumps({`,
    ...fields,
    `    }).encode(),`,
    ")",
    "with urllib.request.urlopen(request) as events:",
    "    for line in events:",
    `        if line.startswith(b"data: "):`,
    `            event = json.loads(line[6:])`,
    `            if event["type"] == "text.delta":`,
    `                print(event["text"], end="", flush=True)`,
    `            elif event["type"] == "run.failed":`,
    `                raise SystemExit(event["error"]["message"])`,
  ].join("\n");
}

function typescript(ask: Ask, origin: string): string {
  const files = ask.files ?? [];
  const fields = plain(ask).map(([name, value]) => `    ${name}: ${JSON.stringify(value)},`);
  if (files.length > 0) fields.push(`    files: [${files.map((path) => `file(${JSON.stringify(path)})`).join(", ")}],`);
  return [
    ...(files.length > 0
      ? [
          `import { readFileSync } from "node:fs";`,
          "",
          `const file = (path: string) => ({ path, content_base64: readFileSync(path, "base64") });`,
          "",
        ]
      : []),
    `const response = await fetch(${JSON.stringify(`${origin}/api/v1/runs`)}, {`,
    `  method: "POST",`,
    `  headers: {`,
    `    authorization: \`Bearer \${process.env.POLYDEV_API_KEY}\`,`,
    `    "content-type": "application/json",`,
    `    accept: "text/event-stream",`,
    `  },`,
    `  body: JSON.stringify({`,
    ...fields.map((field) => field),
    `  }),`,
    `});`,
    `if (!response.ok || !response.body) throw new Error(await response.text());`,
    "",
    `let rest = "";`,
    `for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {`,
    `  const lines = (rest + piece).split("\\n");`,
    `  rest = lines.pop() ?? "";`,
    `  for (const line of lines.filter((line) => line.startsWith("data: "))) {`,
    `    const event = JSON.parse(line.slice(6));`,
    `    if (event.type === "text.delta") process.stdout.write(event.text);`,
    `    if (event.type === "run.failed") throw new Error(event.error.message);`,
    `  }`,
    `}`,
  ].join("\n");
}
