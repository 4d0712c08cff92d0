import assert from "node:assert/strict";
import { test } from "node:test";
import { waitingStream, type StreamStatus } from "../src/client/Api";
import { Problem } from "../src/client/Problem";
import { attemptTrouble, streamTrouble } from "../src/publish/words";
import { timeOfDay } from "../src/ui/format";
import { attemptWords, codecAdvice, wordsFor } from "../src/watch/words";

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

const waiting = waitingStream("demo");
const failed_at_ms = new Date(2026, 0, 2, 14, 5).getTime();
const failed: StreamStatus = {
  ...waiting,
  publish_failure: {
    session: "0123abcd",
    reason: "cipher",
    detail: "there is no common cipher suite",
    failed_at_ms,
  },
};

test("both pages say when and why a publisher could not connect", () => {
  assert.equal(timeOfDay(failed_at_ms), "14:05");
  const why = "At 14:05 a publisher could not connect.";
  assert.equal(
    wordsFor("waiting", null, failed).text,
    `${why} When one can, it will begin here by itself.`,
  );
  assert.equal(
    wordsFor("paused", null, failed).text,
    `${why} When one can, it will continue here by itself.`,
  );
  assert.equal(
    attemptWords(failed),
    "the publisher's encrypted connection (DTLS) failed: there is no common cipher suite",
  );
  assert.deepEqual(attemptTrouble(failed), {
    title: "At 14:05 a publisher could not connect",
    text: "The encrypted connection (DTLS) could not be made: there is no common cipher suite.",
  });
});

test("without a failed attempt to publish, nothing is said of one", () => {
  for (const status of [waiting, null]) {
    assert.equal(wordsFor("waiting", null, status).text, "It will begin here by itself.");
    assert.equal(attemptWords(status), "");
    assert.equal(attemptTrouble(status), null);
  }
});

test("a page whose own handshake failed shows the server's reason", () => {
  const problem = new Problem({
    status: 404,
    title: "Not Found",
    detail: "the session has ended: no common curve",
    fix: "begin a new session with POST",
    handshake: "cipher",
  });
  const title = "The encrypted connection could not be made";
  const text = "The session has ended: no common curve. This page keeps trying by itself.";
  assert.deepEqual(streamTrouble(problem, "demo"), { title, text });
  assert.deepEqual(wordsFor("reconnecting", problem, waiting), { title, text, canTryAgain: false });
});
