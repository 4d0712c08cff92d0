/** ffmpeg's WHIP muxer as publisher. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, openPage, pictureMoves, sessions, stage, watchState } from "../lib/browser.mjs";
import { FfmpegPublisher } from "../lib/ffmpeg.mjs";
import { figure } from "../lib/figures.mjs";
import { until } from "../lib/until.mjs";

describe("ffmpeg publishes by WHIP", () => {
  const here = stage({ before, after });

  test("H.264 and Opus: Chromium watches, the API knows, and a second ffmpeg goes on", async () => {
    const { server, browser } = here;
    const endpoint = `${server.url}/whip/tool`;
    let publisher = FfmpegPublisher.start(endpoint, { width: 640, height: 360, keyFrames: 60, bitrate: "1M" });
    try {
      const status = await publisher.live(server, "tool");
      assert.equal(status.video.codec, "H264");
      assert.equal(status.audio.codec, "Opus");
      await until("the API knows the size", async () => (await server.stream("tool")).video.height === 360);

      const viewer = await openPage(browser, server.watchPage("tool"));
      await pictureMoves(viewer);
      await watchState(viewer, "live");
      await until("sound arrives", async () => ((await ask(viewer, "stats"))?.audioBitrate ?? 0) > 1_000);
      const stats = await ask(viewer, "stats");
      assert.equal(stats.codec, "H264");
      assert.deepEqual([stats.width, stats.height], [640, 360]);
      await until("the key-frame interval is known", async () => (await server.stream("tool")).video.key_frame_interval_ms !== null);
      figure("glass to glass, ffmpeg H.264 360p30", await viewer.evaluate(() => window.nowcast.glassToGlass(90)), {
        note: "from drawing, through ffmpeg and x264",
      });

      await publisher.stop();
      await watchState(viewer, "paused");
      const cameBackAt = Date.now();
      publisher = FfmpegPublisher.start(endpoint, { width: 640, height: 360, keyFrames: 60, bitrate: "1M" });
      await publisher.live(server, "tool");
      await pictureMoves(viewer, { after: cameBackAt });
      assert.equal(sessions(viewer), 1, "no new WHEP session");
      assert.deepEqual(viewer.complaints, []);
      await viewer.end();
    } finally {
      await publisher.stop();
    }
  });
});
