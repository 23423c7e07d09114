import { expect, it } from "vitest";
import { SseParser } from "./sse";

const stream =
  'retry: 1000\n\nid: 1\nevent: run.queued\ndata: {"a":1}\n\n: ping\n\nid: 2\r\nevent: text.delta\r\ndata: é\r\ndata: b\r\n\r\ndata:x\n\n';

it("reads messages however they are cut", () => {
  const whole = new SseParser().push(stream);
  expect(whole).toEqual([
    { id: "1", event: "run.queued", data: '{"a":1}' },
    { id: "2", event: "text.delta", data: "é\nb" },
    { id: "2", event: "message", data: "x" },
  ]);
  for (let cut = 0; cut <= stream.length; cut += 1) {
    const parser = new SseParser();
    expect([...parser.push(stream.slice(0, cut)), ...parser.push(stream.slice(cut))], `cut at ${cut}`).toEqual(whole);
  }
});

it("tells nothing of a message that is not whole", () => {
  expect(new SseParser().push("id: 1\ndata: half")).toEqual([]);
});
