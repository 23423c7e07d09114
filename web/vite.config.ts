import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/** What the first paint waits for: the two faces of Latin text, asked for at once; and the script, which knows the theme. */
function firstPaint(): Plugin {
  return {
    name: "first-paint",
    apply: "build",
    enforce: "post",
    transformIndexHtml: {
      order: "post",
      handler(html, { bundle }) {
        const faces = Object.keys(bundle ?? {}).filter((name) => /-latin-wght-normal-[^/]*\.woff2$/.test(name));
        return {
          html: html.replace('<script type="module"', '<script blocking="render" type="module"'),
          tags: faces.map((name) => ({
            tag: "link",
            attrs: { rel: "preload", as: "font", type: "font/woff2", crossorigin: true, href: `/${name}` },
            injectTo: "head-prepend" as const,
          })),
        };
      },
    },
  };
}

/**
 * noVNC tries H.264 before anything else, and on some phones the browser never answers: it would never load. Our
 * desktops do not speak it.
 */
function withoutH264(): Plugin {
  const tries = /^supportsWebCodecsH264Decode = await .*$/m;
  return {
    name: "without-h264",
    transform(code, id) {
      if (!id.endsWith("/@novnc/novnc/core/util/browser.js")) return;
      if (!tries.test(code)) throw new Error("noVNC is another one than `withoutH264` in vite.config.ts knows");
      return { code: code.replace(tries, ""), map: null };
    },
  };
}

/** `npm run dev` beside a server: its own page, as far as the server can tell. */
const server = process.env.POLYDEV_URL ?? "http://127.0.0.1:4000";

export default defineConfig({
  plugins: [react(), tailwindcss(), firstPaint(), withoutH264()],
  build: {
    target: ["chrome123", "firefox128", "safari17.5"],
    // The policy of the server's pages takes no data: URL.
    assetsInlineLimit: 0,
    // `dist/` is tracked for its `.gitignore`; `build/clean.js` empties the rest.
    emptyOutDir: false,
    manifest: true,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": { target: server, changeOrigin: true, headers: { origin: server } } } },
  test: {
    projects: [
      { test: { name: "unit", include: ["src/**/*.test.ts"], environment: "node" } },
      {
        test: {
          name: "browser",
          include: ["browser/**/*.test.ts"],
          environment: "node",
          fileParallelism: false,
          // Two pages at once: what each of two processors has time for.
          maxConcurrency: 2,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // One second, as it comes, is not enough for a busy machine.
          expect: { poll: { timeout: 20_000 } },
        },
      },
    ],
  },
} as Parameters<typeof defineConfig>[0]);
