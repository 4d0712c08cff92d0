/** The publish page to the watch page, in every codec that this Chromium can send. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, launchBrowser, onAir, openPage, pictureMoves, watchState } from "../lib/browser.mjs";
import { figure } from "../lib/figures.mjs";
import { Server } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

describe("publish page to watch page", () => {
  let server;
  let browser;
  let sendable;

  before(async () => {
    server = await Server.start();
    browser = await launchBrowser();
    const page = await openPage(browser, `${server.url}/healthz`);
    sendable = await page.evaluate(() => RTCRtpSender.getCapabilities("video").codecs.map(({ mimeType }) => mimeType.slice(6).toUpperCase()));
    await page.end();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  for (const codec of ["VP8", "H264", "VP9", "AV1"]) {
    test(codec, async (t) => {
      if (!sendable.includes(codec)) return t.skip(`this Chromium cannot send ${codec}: ${[...new Set(sendable)].join(", ")}`);
      const stream = codec.toLowerCase();
      const publisher = await openPage(browser, server.publishPage(stream, { codec, res: "720", fps: "30" }));
      await onAir(publisher);
      const viewer = await openPage(browser, server.watchPage(stream));

      await pictureMoves(viewer);
      await watchState(viewer, "live");
      await until("sound arrives", async () => ((await ask(viewer, "stats"))?.audioBitrate ?? 0) > 1_000);
      await until("the page knows its codecs", async () => (await ask(viewer, "stats"))?.codec);
      const stats = await ask(viewer, "stats");
      assert.equal(stats.codec.toUpperCase(), codec);
      assert.equal(stats.audioCodec.toLowerCase(), "opus");
      const status = await until("the API knows the picture", async () => {
        const status = await server.stream(stream);
        return status?.video?.height ? status : null;
      });
      assert.equal(status.state, "live");
      assert.equal(status.video.codec.toUpperCase(), codec);
      // RED is Opus twice; a server may ask for it.
      assert.match(status.audio.codec, /^(opus|red)$/i);
      assert.equal(status.viewers, 1);

      const delays = await viewer.evaluate(() => window.nowcast.glassToGlass(120));
      assert.ok(delays.length > 0, "the clock strip can be read from shown frames");
      assert.ok(delays.every((delay) => delay > 0), "no frame is shown before it was drawn");
      figure(`glass to glass, ${codec} 720p30`, delays, { target: codec === "VP8" ? "median ≤ 150 ms" : null });

      assert.deepEqual(viewer.complaints, []);
      assert.deepEqual(publisher.complaints, []);
      await viewer.end();
      await publisher.end();
    });
  }
});
