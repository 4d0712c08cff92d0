import assert from "node:assert/strict";
import { test } from "node:test";
import { codecAdvice } from "../src/watch/words";

test("the advice names the published codec, and others that this browser plays", () => {
  const rows: [string | null, string[], RegExp][] = [
    ["H264", ["VP8", "VP9", "AV1"], /published in H\.264\. .*choose VP8 or VP9, which/],
    ["VP8", ["H264", "AV1"], /published in VP8\. .*choose H\.264 or AV1, which/],
    ["H265", ["VP8", "H264", "VP9"], /published in H\.265\. .*choose VP8 or H\.264, which/],
    // A profile that the browser lacks, of a codec that it has.
    ["H264", ["H264"], /published in H\.264\. Try another browser\. /],
    ["AV1", [], /published in AV1\. Try another browser\. /],
    [null, ["vp8"], /^Try another browser, or ask the publisher to choose VP8, which/],
  ];
  for (const [codec, offered, expected] of rows)
    assert.match(codecAdvice(codec, offered), expected, `${codec}, ${offered}`);
});
