import assert from "node:assert/strict";
import { test } from "node:test";
import { streamFromPath, streamNameProblem } from "../src/client/StreamName";

test("legal names have no problem", () => {
  for (const name of ["a", "demo", "A-b_9", "live/cam-1", "a/b/c", "x".repeat(128)]) {
    assert.equal(streamNameProblem(name), null, name);
  }
});

test("illegal names are told apart", () => {
  const rows: [string, RegExp][] = [
    ["", /needs a name/],
    ["x".repeat(129), /129 characters/],
    ["/a", /stands between/],
    ["a/", /stands between/],
    ["a//b", /stands between/],
    ["a b", /A space/],
    ["ä", /“ä”/],
    ["a.b", /“\.”/],
    ["🎥", /“🎥”/],
    ["a\n", /not allowed/],
  ];
  for (const [name, words] of rows) assert.match(streamNameProblem(name) ?? "", words, name);
});

test("a page's path names its stream", () => {
  assert.equal(streamFromPath("/watch/demo"), "demo");
  assert.equal(streamFromPath("/publish/a/b"), "a/b");
  assert.equal(streamFromPath("/watch/demo/"), "demo");
  assert.equal(streamFromPath("/watch/watch/watch"), "watch/watch");
  assert.equal(streamFromPath("/watch/a%2Fb"), "a/b");
  for (const path of ["/watch", "/watch/", "/watch//a", "/watch/a%20b", "/watch/%"]) assert.equal(streamFromPath(path), null, path);
});
