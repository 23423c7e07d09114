// Compresses what was built, ahead and as well as can be, and holds the sizes to their budget.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

/** The most that the dashboard's first load takes of script, in bytes as gzip sends them. */
const FIRST_LOAD_MAX = 150_000;

const DIST = "dist";

/** @type {Record<string, { file: string, imports?: string[], css?: string[], isEntry?: boolean }>} */
const manifest = JSON.parse(readFileSync(`${DIST}/.vite/manifest.json`, "utf8"));

/** @type {Map<string, { plain: number, gzip: number, brotli: number }>} */
const sizes = new Map();
for (const name of readdirSync(DIST, { recursive: true, encoding: "utf8" })) {
  if (!/\.(js|css|svg|html)$/.test(name)) continue;
  const bytes = readFileSync(`${DIST}/${name}`);
  const gzip = gzipSync(bytes, { level: 9 });
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  // What compression does not make smaller is sent as it is.
  if (gzip.length < bytes.length) writeFileSync(`${DIST}/${name}.gz`, gzip);
  if (brotli.length < bytes.length) writeFileSync(`${DIST}/${name}.br`, brotli);
  sizes.set(name, { plain: bytes.length, gzip: gzip.length, brotli: brotli.length });
}

/**
 * The scripts that these chunks need before they run.
 * @param {string[]} keys
 */
function scripts(keys) {
  /** @type {Set<string>} */
  const found = new Set();
  const look = [...keys];
  for (let key = look.pop(); key !== undefined; key = look.pop()) {
    const chunk = manifest[key];
    if (!chunk) throw new Error(`the build has no chunk \`${key}\``);
    if (found.has(chunk.file)) continue;
    found.add(chunk.file);
    look.push(...(chunk.imports ?? []));
  }
  return [...found];
}

/** @param {string[]} files @param {"gzip" | "brotli"} how */
const sum = (files, how) => files.reduce((all, file) => all + (sizes.get(file)?.[how] ?? 0), 0);

const first = scripts(["index.html", "src/routes/dashboard.tsx"]);
/** What the page of a login takes beyond that: noVNC, mostly. */
const desktop = scripts(["src/routes/login.tsx", "src/components/desktop/desktop.tsx"]).filter(
  (file) => !first.includes(file),
);
const styles = [...sizes.keys()].filter((name) => name.endsWith(".css"));
const report = {
  dashboard_script_gzip_bytes: sum(first, "gzip"),
  dashboard_script_brotli_bytes: sum(first, "brotli"),
  desktop_script_gzip_bytes: sum(desktop, "gzip"),
  style_gzip_bytes: sum(styles, "gzip"),
  all_script_gzip_bytes: sum(
    [...sizes.keys()].filter((name) => name.endsWith(".js")),
    "gzip",
  ),
};
writeFileSync(`${DIST}/.vite/sizes.json`, `${JSON.stringify(report, null, 2)}\n`);
const kb = (/** @type {number} */ bytes) => `${(bytes / 1000).toFixed(1)} kB`;
process.stdout.write(
  `web: the dashboard loads ${kb(report.dashboard_script_gzip_bytes)} of script (${kb(report.dashboard_script_brotli_bytes)} with brotli), ` +
    `${kb(report.style_gzip_bytes)} of style; a desktop ${kb(report.desktop_script_gzip_bytes)} of script more\n`,
);
if (!desktop.some((file) => /^assets\/desktop-/.test(file))) {
  process.stderr.write("web: noVNC has no chunk of its own\n");
  process.exit(1);
}
if (report.dashboard_script_gzip_bytes > FIRST_LOAD_MAX) {
  for (const file of first) process.stderr.write(`  ${kb(sizes.get(file)?.gzip ?? 0)}\t${file}\n`);
  process.stderr.write(`web: that is more than ${kb(FIRST_LOAD_MAX)}: load what the dashboard does not need later\n`);
  process.exit(1);
}
