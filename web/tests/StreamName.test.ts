import assert from "node:assert/strict";
import { test } from "node:test";
import { rootOf } from "../src/client/root";
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

test("a page's path names its stream, below any root", () => {
  for (const [root, below] of [
    ["http://h", ""],
    ["http://h/live", "/live"],
    ["https://h:1/a/b", "/a/b"],
    ["http://h/watch", "/watch"],
  ] as const) {
    const stream = (path: string): string | null => streamFromPath(below + path, root);
    assert.equal(stream("/watch/demo"), "demo");
    assert.equal(stream("/publish/a/b"), "a/b");
    assert.equal(stream("/watch/demo/"), "demo");
    assert.equal(stream("/watch/watch/watch"), "watch/watch");
    assert.equal(stream("/watch/a%2Fb"), "a/b");
    for (const path of ["/watch/", "/watch//a", "/watch/a%20b", "/watch/%"])
      assert.equal(stream(path), null, below + path);
  }
  assert.equal(streamFromPath("/watch", "http://h"), null);
  assert.equal(streamFromPath("//watch/demo", "http://h"), "demo");
});

test("a script's address tells the root", () => {
  const rows = [
    ["http://h/assets/watch-1.js", "http://h"],
    ["http://h/live/assets/watch-1.js", "http://h/live"],
    ["https://h:8443/a/b/assets/watch-1.js", "https://h:8443/a/b"],
    // Never a path that begins with two slashes: it would name another host.
    ["http://h//assets/watch-1.js", "http://h"],
    ["http://h//evil.example/assets/watch-1.js", "http://h//evil.example"],
  ] as const;
  for (const [script, root] of rows) assert.equal(rootOf(script), root);
});
