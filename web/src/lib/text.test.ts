import { expect, it } from "vitest";
import { bytes, codeParts, count, dollars, firstLine, sentence } from "./text";

it("makes sentences of messages", () => {
  expect(sentence("the server stopped")).toBe("The server stopped.");
  expect(sentence("`x` is no key")).toBe("`x` is no key.");
  expect(sentence("Wait!")).toBe("Wait!");
  expect(sentence(" ")).toBe("");
});

it("finds code between backticks, and leaves a lone one", () => {
  expect(codeParts("use `a b` now")).toEqual([
    { code: false, text: "use " },
    { code: true, text: "a b" },
    { code: false, text: " now" },
  ]);
  expect(codeParts("a `b")).toEqual([
    { code: false, text: "a " },
    { code: false, text: "b" },
  ]);
});

it("writes amounts", () => {
  expect([0, 999, 1000, 1530, 45_600, 12_000_000].map(bytes)).toEqual([
    "0 B",
    "999 B",
    "1.0 kB",
    "1.5 kB",
    "46 kB",
    "12 MB",
  ]);
  expect([0, 999, 1000, 1_234_567].map(count)).toEqual(["0", "999", "1\u2009000", "1\u2009234\u2009567"]);
  expect([0, 12.345, 0.5, 0.0123, 0.000088].map(dollars)).toEqual(["$0", "$12.35", "$0.50", "$0.012", "$0.000088"]);
});

it("takes a first line", () => {
  expect(firstLine("\n a\nb")).toBe("a");
  expect(firstLine("x".repeat(200), 10)).toBe(`${"x".repeat(10)}…`);
});
