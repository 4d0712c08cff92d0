/** Viewers that join late a stream with a long key-frame interval. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launchBrowser, onAir, openPage } from "../lib/browser.mjs";
import { FfmpegPublisher } from "../lib/ffmpeg.mjs";
import { joinFigures, joinRepeatedly } from "../lib/joins.mjs";
import { Server } from "../lib/server.mjs";
import { pause } from "../lib/until.mjs";

describe("a late joiner sees a picture at once", () => {
  let server;
  let browser;

  before(async () => {
    server = await Server.start();
    browser = await launchBrowser();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test("Chromium publishes: key frames only when asked for", async () => {
    const publisher = await openPage(browser, server.publishPage("late", { codec: "VP8", res: "720", fps: "30" }));
    await onAir(publisher);
    await pause(5_000);
    const { joins, complaints } = await joinRepeatedly(browser, server, "late", [0, 200, 3_000, 500, 1_500, 0]);
    joinFigures("Chromium publishes", joins);
    assert.equal(joins.length, 6);
    assert.deepEqual(complaints, []);
    await publisher.end();
  });

  test("ffmpeg publishes: a key frame every 10 s, and requests go unheard", async () => {
    const publisher = FfmpegPublisher.start(`${server.url}/whip/rare`, { keyFrames: 300 });
    try {
      await publisher.live(server, "rare");
      const { joins, complaints } = await joinRepeatedly(browser, server, "rare", [0, 300, 0, 500, 700, 0]);
      joinFigures("ffmpeg -g 300 publishes", joins);
      assert.equal(joins.length, 6);
      assert.deepEqual(complaints, []);
    } finally {
      await publisher.stop();
    }
  });
});
