/** Programs that speak WebRTC without a browser: GStreamer, libdatachannel (as OBS does) and Pion, as publishers and as viewers. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, openPage, stage, watchState } from "../lib/browser.mjs";
import { lacksNetwork, skipAloud } from "../lib/network.mjs";
import { GSTREAMER, lacksGStreamer, lacksPion, LIBDATACHANNEL, PION } from "../lib/tools.mjs";
import { until } from "../lib/until.mjs";

const noNetwork = lacksNetwork();

/**
 * Each client publishes, and is watched by Chromium and by its own kind. `watchArgs`: arguments of the watching client.
 * `answerArgs`: the same if the server makes the offer; webrtcbin answers with the first codec of a section only.
 */
const ROWS = [
  ...["VP8", "H264", "VP9"].map((codec) => ({
    tool: GSTREAMER,
    codec,
    watchArgs: ["--codec", codec, "--frames", "25"],
    answerArgs: ["--server-offers", "--frames", "25"],
  })),
  { tool: LIBDATACHANNEL, codec: "VP8", watchArgs: ["VP8", "50"] },
  { tool: LIBDATACHANNEL, codec: "H264", watchArgs: ["H264", "50"], options: { env: { MIDS: "video-stream,audio-stream-of-the-studio" } }, note: ", mids with hyphens" },
  { tool: PION, codec: "VP8", watchArgs: ["50"] },
  { tool: PION, codec: "H264", watchArgs: ["50"] },
];

describe("programs", () => {
  const here = stage({ before, after }, { loopback: false });
  const lacks = new Map([[GSTREAMER, lacksGStreamer()], [PION, lacksPion()]]);

  for (const { tool, codec, watchArgs, answerArgs, options, note = "" } of ROWS) {
    const what = `${tool.name} publishes and watches ${codec}${note}`;
    test(what, { skip: skipAloud(what, noNetwork || lacks.get(tool)) }, async () => {
      const { server, browser } = here;
      const stream = `${tool.name}-${codec}`.toLowerCase();
      const publisher = await tool.publish(server, stream, codec, options);
      try {
        assert.equal(publisher.status.video.codec, codec);
        assert.equal(publisher.status.video.height, 240);
        for (const args of [watchArgs, answerArgs].filter(Boolean)) {
          const seen = await tool.watch(server, stream, args, options?.env);
          assert.equal(seen.connection, "connected", JSON.stringify(seen));
          console.log(`${tool.name}, ${codec}, ${args.join(" ")}: ${JSON.stringify(seen)}`);
        }

        const viewer = await openPage(browser, server.watchPage(stream));
        await watchState(viewer, "live");
        await until("pictures and sound come", async () => {
          const stats = await ask(viewer, "stats");
          return stats?.frameRate > 5 && stats.audioBitrate > 1_000 && stats.codec === codec;
        }, { describe: async () => JSON.stringify(await ask(viewer, "stats")) });
        assert.deepEqual(viewer.complaints, []);
        await viewer.end();
      } finally {
        await publisher.stop();
      }
      await until("the stream is no longer live", async () => (await server.stream(stream))?.state !== "live");
    });
  }
});
