import { expect, it } from "vitest";
import { browserName } from "./agent";

it("names browsers as people do, and leaves other programs their own name", () => {
  for (const [agent, name] of [
    ["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"],
    [
      "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0",
      "Edge on Windows",
    ],
    [
      "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.2 Safari/605.1.15",
      "Safari on macOS",
    ],
    ["curl/8.5.0", "curl/8.5.0"],
    [null, "An unknown program"],
  ] as const) {
    expect(browserName(agent)).toBe(name);
  }
});
