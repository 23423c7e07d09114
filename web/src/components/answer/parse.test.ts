import { expect, it } from "vitest";
import { EMPTY, type Parsed, parse } from "./parse";

const text = `# Title

A paragraph with **bold**, \`code\` and a [link](https://example.com/).
It goes on.

- one
- two

  more of two

1. first

| a | b |
|---|---|
| 1 | 2 |

\`\`\`rust
fn main() {
    println!("hi");

}
\`\`\`

Setext
======

> quoted
> on

<script>alert(1)</script>

last [x]: not a definition
`;

const shape = (parsed: Parsed) => [...parsed.settled, ...parsed.open].map(({ source, node }) => [node.type, source]);

it("reads a text that grows as it reads the whole, whatever the pieces", () => {
  const whole = shape(parse(text, EMPTY, true));
  expect(whole.length).toBeGreaterThan(8);
  for (const size of [1, 2, 3, 7, 31, 200]) {
    let parsed = EMPTY;
    for (let end = size; ; end += size) {
      parsed = parse(text.slice(0, end), parsed);
      if (end >= text.length) break;
    }
    expect(shape(parsed), `in pieces of ${size}`).toEqual(whole);
  }
});

it("keeps the blocks that are settled", () => {
  const half = parse(text.slice(0, 200));
  const more = parse(text, half);
  expect(half.settled.length).toBeGreaterThan(0);
  expect(more.settled.slice(0, half.settled.length)).toEqual(half.settled);
  expect(more.settled[0]).toBe(half.settled[0]);
});

it("begins anew where the text is another", () => {
  const other = parse("other", parse("one\n\ntwo\n\nthree\n\nfour"));
  expect(shape(other)).toEqual([["paragraph", "other"]]);
});
