import assert from "node:assert/strict";
import { test } from "node:test";
import type { ViewerReport } from "../src/client/Api";
import { LatencyMeter } from "../src/client/LatencyMeter";
import { FakeBrowser, settled } from "./support/FakeBrowser";

const REPORT = {
  session: "1",
  stream: "demo",
  state: "live",
  connected: true,
  video: {
    layer: "f",
    reason: "best",
    rtp_timestamp: 90_000,
    captured_at_ms: 1_700_000_000_000,
    clock_rate: 90_000,
  },
  transport: { estimate_bps: 1, loss_percent: 0, rtt_ms: 1, queue_ms: 0 },
} as unknown as ViewerReport;

function start(answer: () => Promise<unknown> = async () => structuredClone(REPORT)) {
  const browser = new FakeBrowser();
  const polled: number[] = [];
  const session = { report: () => (polled.push(browser.now()), answer()) };
  const client = { state: "connected" as string, session: session as typeof session | null };
  // The server's clock is this one's.
  const clock = { isSet: true, now: (ms: number) => ms, set: async () => {} };
  const meter = new LatencyMeter(client, clock, browser);
  meter.start();
  return { browser, client, meter, polled };
}

test("the report is polled every 2 s", async () => {
  const { browser, polled } = start();
  await browser.passes(8_000);
  assert.deepEqual(polled, [2_000, 4_000, 6_000, 8_000]);
});

test("the report is polled every 10 s where events report changes, after 5 s", async () => {
  const { browser, meter, polled } = start();
  meter.isTold = () => true;
  meter.refresh();
  await browser.passes(32_000);
  assert.deepEqual(polled, [0, 2_000, 4_000, 14_000, 24_000]);
});

test("the report is polled neither without a connection nor twice at a time", async () => {
  const { browser, client, polled } = start(() => new Promise(() => {}));
  await browser.passes(10_000);
  assert.deepEqual(polled, [2_000]);
  const other = start();
  other.client.state = "reconnecting";
  await other.browser.passes(10_000);
  other.client.session = null;
  await other.browser.passes(10_000);
  assert.deepEqual(other.polled, []);
  client.session = null;
});

test("a new connection is polled at once, whatever the old one still waits for", async () => {
  const { browser, client, meter, polled } = start(() => new Promise(() => {}));
  await browser.passes(2_000);
  const session = { report: async () => (polled.push(browser.now()), structuredClone(REPORT)) };
  client.session = session;
  meter.refresh();
  await settled();
  assert.deepEqual(polled, [2_000, 2_000]);
  assert.equal(meter.report?.session, "1");
});

test("a session that the server does not know is lost; no answer is no loss", async () => {
  for (const [answer, expected] of [
    [async () => null, 1],
    [
      async () => {
        throw new Error("503");
      },
      0,
    ],
  ] as const) {
    const { browser, meter } = start(answer);
    let lost = 0;
    meter.onlost = () => (lost += 1);
    await browser.passes(2_000);
    assert.equal(lost, expected);
    assert.equal(meter.report, null);
  }
});

test("the delay is from capture to display, and unknown 2 s after the last picture", async () => {
  const { browser, meter } = start();
  await browser.passes(2_000);
  // Captured 90,000 ticks after the report's picture, that is at 1 s; shown at 2.12 s.
  const frame = { rtpTimestamp: 180_000, expectedDisplayTime: 2_120 } as VideoFrameCallbackMetadata;
  meter.handleFrame(frame);
  assert.equal(meter.latencyMs, 1_120);
  await browser.passes(2_001);
  assert.equal(meter.latencyMs, null);
});

test("what events tell replaces what the report said", async () => {
  const { browser, meter } = start();
  await browser.passes(2_000);
  meter.tell({ current: { encodingId: "h" }, reason: "network", carriedBitrate: 300_000 } as never);
  const { video, transport } = meter.report ?? {};
  assert.deepEqual(
    [video?.layer, video?.reason, transport?.estimate_bps],
    ["h", "network", 300_000],
  );
});
