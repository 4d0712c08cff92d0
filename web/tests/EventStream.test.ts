import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser, readEvents, type ServerEvent } from "../src/client/EventStream";

test("events come whole, however they are cut", () => {
  const text =
    'event: layers\ndata: {"0":\ndata: 1}\n\n:\n\n' +
    "event:active\r\ndata:{}\r\n\r\ndata: x\n\nevent: half";
  const expected = [
    { name: "layers", data: '{"0":\n1}' },
    { name: "active", data: "{}" },
    { name: "message", data: "x" },
  ];
  for (const size of [1, 2, 3, 7, text.length]) {
    const parser = new EventParser();
    const events: ServerEvent[] = [];
    for (let at = 0; at < text.length; at += size)
      events.push(...parser.push(text.slice(at, at + size)));
    assert.deepEqual(events, expected, `pieces of ${size}`);
  }
});

test("a stream is read to its end, and every piece of it is a sign of life", async () => {
  const bytes = new TextEncoder().encode("data: ä\n\n");
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of [bytes.slice(0, 7), bytes.slice(7), new TextEncoder().encode(":\n\n")])
        controller.enqueue(piece);
      controller.close();
    },
  });
  const events: string[] = [];
  let heard = 0;
  await readEvents(
    body,
    ({ data }) => events.push(data),
    () => heard++,
  );
  assert.deepEqual([events, heard], [["ä"], 3]);
});
