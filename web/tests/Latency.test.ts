import assert from "node:assert/strict";
import { test } from "node:test";
import { capturedAt, plausibleDelay } from "../src/client/LatencyMeter";
import { clockOffset } from "../src/client/ServerClock";

const REPORT = { rtp_timestamp: 900_000, captured_at_ms: 5_000, clock_rate: 90_000 };

test("a frame's capture time is counted from the reported one", () => {
  assert.equal(capturedAt(900_000, REPORT), 5_000);
  assert.equal(capturedAt(990_000, REPORT), 6_000);
  assert.equal(capturedAt(855_000, REPORT), 4_500);
});

test("RTP timestamps wrap at 32 bits, in both directions", () => {
  assert.equal(capturedAt(90_000 - 1, { ...REPORT, rtp_timestamp: 2 ** 32 - 1 }), 6_000);
  assert.equal(capturedAt(2 ** 32 - 90_000, { ...REPORT, rtp_timestamp: 0 }), 4_000);
  assert.equal(capturedAt(2 ** 31 + 45_000, { ...REPORT, rtp_timestamp: 2 ** 31 - 45_000 }), 6_000);
});

test("without a capture time there is no telling", () => {
  assert.equal(capturedAt(1, { ...REPORT, captured_at_ms: null }), null);
  assert.equal(capturedAt(1, { ...REPORT, clock_rate: 0 }), null);
});

test("a delay that cannot be is unknown, and one within the error of clocks is none", () => {
  assert.equal(plausibleDelay(120), 120);
  assert.equal(plausibleDelay(-5), 0);
  assert.equal(plausibleDelay(-69), null);
  assert.equal(plausibleDelay(3_600_000), null);
  assert.equal(plausibleDelay(Number.NaN), null);
});

test("the quickest answer sets the clock", () => {
  const probes = [
    { sentAt: 0, receivedAt: 100, serverMs: 1_090 },
    { sentAt: 200, receivedAt: 204, serverMs: 1_202 },
    { sentAt: 300, receivedAt: 340, serverMs: 1_302 },
  ];
  assert.equal(clockOffset(probes), 1_000);
});
