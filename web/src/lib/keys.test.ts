import { describe, expect, it } from "vitest";
import { isKey, keyOf, typed } from "./keys";

describe("the key of a character", () => {
  it("is its own of Latin-1, and its code point elsewhere", () => {
    expect(keyOf("a").keysym).toBe(0x61);
    expect(keyOf("é").keysym).toBe(0xe9);
    expect(keyOf("€").keysym).toBe(0x0100_20ac);
    expect(keyOf("😀").keysym).toBe(0x0101_f600);
    expect(keyOf("\n").keysym).toBe(0xff0d);
  });

  it("is known by name where it prints nothing", () => {
    expect([isKey("Escape"), isKey("a"), isKey("constructor")]).toEqual([true, false, false]);
  });
});

describe("what was typed", () => {
  it("is what came after what stayed", () => {
    expect(typed("___", "___ls")).toEqual({ back: 0, text: "ls" });
    expect(typed("___ls", "___l")).toEqual({ back: 1, text: "" });
  });

  it("is corrected as a keyboard's suggestions do", () => {
    expect(typed("___teh", "___the ")).toEqual({ back: 2, text: "he " });
    expect(typed("__😀", "__")).toEqual({ back: 1, text: "" });
  });
});
