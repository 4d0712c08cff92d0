/** Several layers within one encoding: of what Chromium sends so, each viewer gets as many as it wishes. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { onAir, openPage, pictureMoves, stage } from "../lib/browser.mjs";
import { figure } from "../lib/figures.mjs";
import { openSession } from "../lib/session.mjs";
import { until } from "../lib/until.mjs";

/** Chromium makes no VP9 layer of less than 135 lines, and of AV1 none of less than 180. */
const MODES = [
  { codec: "VP9", svc: "L3T3_KEY", res: "720", lines: [360, 180, 720] },
  { codec: "VP9", svc: "L2T2", res: "360", lines: [180, 360] },
  { codec: "AV1", svc: "L3T3", res: "720", lines: [360, 180, 720] },
  { codec: "AV1", svc: "L2T3_KEY", res: "360", lines: [180, 360] },
  { codec: "AV1", svc: "L2T2", res: "360", lines: [180, 360] },
];

const height = (page) => page.evaluate(() => document.getElementById("video").videoHeight);
const becomes = (page, lines) => until(`the picture has ${lines} lines`, async () => (await height(page)) === lines);

describe("layers of one encoding", () => {
  const here = stage({ before, after });

  for (const { codec, svc, res, lines } of MODES) {
    test(`${codec} ${svc}: smaller, whole again, and slower`, async () => {
      const stream = `${codec}-${svc}`.toLowerCase();
      const publisher = await openPage(here.browser, here.server.publishPage(stream, { codec, svc, res, fps: "15", bitrate: res === "720" ? "2000000" : "800000" }));
      await onAir(publisher);
      const viewer = await openPage(here.browser, null);
      const session = await openSession(viewer, here.server.watchPage(stream));
      await pictureMoves(viewer);
      await becomes(viewer, Number(res));
      const wish = async (body) => assert.equal((await session.wish(body)).status, 200);

      for (const maxHeight of lines) {
        await wish(JSON.stringify({ maxHeight }));
        await becomes(viewer, maxHeight);
        await pictureMoves(viewer, { after: Date.now() });
      }
      await wish('{"spatialLayerId":0}');
      await becomes(viewer, Math.min(...lines));
      await wish("{}");
      await becomes(viewer, Number(res));
      await wish('{"maxFrameRate":8}');
      const frames = () => viewer.evaluate(() => document.getElementById("video").getVideoPlaybackQuality().totalVideoFrames);
      await until("fewer pictures are shown", async () => {
        const from = await frames();
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        const shown = (await frames()) - from;
        return shown >= 5 && shown <= 10;
      });
      // An encoder above its rate leaves the largest layer out of single pictures.
      await becomes(viewer, Number(res));
      assert.deepEqual(viewer.complaints, []);
      await viewer.end();
      assert.deepEqual(publisher.complaints, []);
      await publisher.end();
    });
  }

  for (const [codec, svc] of [["VP9", "L3T3"], ["VP9", "L3T3_KEY"], ["AV1", "L3T3_KEY"]]) {
    test(`${codec} ${svc}: the way down needs no key frame`, async () => {
      const stream = `down-${codec}-${svc}`.toLowerCase();
      const publisher = await openPage(here.browser, here.server.publishPage(stream, { codec, svc, res: "720", fps: "15", bitrate: "1500000" }));
      await onAir(publisher);
      // Another viewer needs all layers all the time.
      const other = await openPage(here.browser, here.server.watchPage(stream));
      const viewer = await openPage(here.browser, null);
      const { session, wish } = await openSession(viewer, here.server.watchPage(stream));
      await becomes(viewer, 720);
      const asked = async () => (await (await fetch(session)).json()).video.key_frame_requests;
      const took = [];
      let askedFor = 0;
      for (let round = 0; round < 5; round++) {
        const before = await asked();
        const from = Date.now();
        await wish('{"maxHeight":360}');
        await becomes(viewer, 360);
        took.push(Date.now() - from);
        await pictureMoves(viewer, { after: Date.now(), readings: 3 });
        askedFor += Math.min((await asked()) - before, 1);
        await wish("{}");
        await becomes(viewer, 720);
        await pictureMoves(viewer, { after: Date.now(), readings: 3 });
      }
      // On a machine that has too much to do, one may have been late.
      assert.ok(askedFor <= 1, `it was frozen, and asked for a key frame, in ${askedFor} of 5 rounds`);
      figure(`${codec} ${svc}, smaller pictures are shown after`, took);
      await Promise.all([viewer.end(), other.end(), publisher.end()]);
    });
  }

  test("whoever understands no descriptors is shown the smallest of AV1", async () => {
    const publisher = await openPage(here.browser, here.server.publishPage("plain", { codec: "AV1", svc: "L2T2", res: "360", fps: "15", bitrate: "600000" }));
    await onAir(publisher);
    const viewer = await openPage(here.browser, null);
    await viewer.addInitScript(() => {
      delete RTCRtpTransceiver.prototype.setHeaderExtensionsToNegotiate;
    });
    await viewer.goto(here.server.watchPage("plain"), { waitUntil: "domcontentloaded" });
    await pictureMoves(viewer);
    await becomes(viewer, 180);
    await viewer.end();
    await publisher.end();
  });
});
