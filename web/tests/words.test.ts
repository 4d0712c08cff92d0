import assert from "node:assert/strict";
import { test } from "node:test";
import { waitingStream, type StreamStatus } from "../src/client/Api";
import { Problem } from "../src/client/Problem";
import { attemptTrouble, streamTrouble } from "../src/publish/words";
import { timeOfDay } from "../src/ui/format";
import { codecAdvice, wordsFor } from "../src/watch/words";

test("the advice names what is published, and to choose nothing but what this browser plays", () => {
  const rows: [string | null, string[], RegExp][] = [
    ["H264", ["VP8", "VP9", "AV1"], /published in H\.264\. .*choose VP8 or VP9, which/],
    ["VP8", ["H264", "AV1"], /published in VP8\. .*choose H\.264 or AV1, which/],
    ["H265", ["VP8", "H264", "VP9"], /published in H\.265\. .*choose VP8 or H\.264, which/],
    // A profile that the browser lacks, of a codec that it has.
    ["H264", ["H264"], /published in H\.264\. Try another browser\. /],
    ["AV1", [], /published in AV1\. Try another browser\. /],
    [null, ["vp8"], /^Try another browser, or ask the publisher to choose VP8, which/],
  ];
  for (const [codec, offered, expected] of rows) assert.match(codecAdvice(codec, offered), expected, `${codec}, ${offered}`);
});

const waiting = waitingStream("demo");
const failed_at_ms = new Date(2026, 0, 2, 14, 5).getTime();
const failed: StreamStatus = {
  ...waiting,
  publish_failure: { session: "0123abcd", reason: "cipher", detail: "there is no common cipher suite", failed_at_ms },
};

test("both pages say when and why a publisher could not connect", () => {
  assert.equal(timeOfDay(failed_at_ms), "14:05");
  assert.match(wordsFor("waiting", null, failed).text, /^At 14:05 a publisher could not connect: there is no common cipher suite\. /);
  assert.equal(wordsFor("waiting", null, waiting).text, "It will begin here by itself.");
  assert.deepEqual(attemptTrouble(failed), {
    title: "At 14:05 a publisher could not connect",
    text: "Its DTLS handshake failed: there is no common cipher suite.",
  });
  assert.equal(attemptTrouble(waiting), null);
  assert.equal(attemptTrouble(null), null);
});

test("a page whose own handshake failed says what the server says of it", () => {
  const problem = new Problem({ status: 404, title: "Not Found", detail: "the session has ended: why.", fix: "Do so.", handshake: "finished" });
  const title = "The encrypted connection could not be made";
  const text = "the session has ended: why. Do so.";
  assert.deepEqual(streamTrouble(problem, "demo"), { title, text });
  assert.deepEqual(wordsFor("reconnecting", problem, waiting), { title, text, canTryAgain: false });
  assert.equal(wordsFor("reconnecting", new Problem({ status: 0, title: "No answer" }), waiting).title, "No answer");
});
