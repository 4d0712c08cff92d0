/** The publisher is asked to leave out layers of one encoding that no viewer needs, and sends them again in time. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, pictureMoves, stage } from "../lib/browser.mjs";
import { figure } from "../lib/figures.mjs";
import { openSession } from "../lib/session.mjs";
import { until } from "../lib/until.mjs";

const MODES = [
  { codec: "VP9", svc: "L3T3_KEY", res: 720, sizes: [180, 360] },
  { codec: "VP9", svc: "L2T2_KEY", res: 360, sizes: [180] },
  { codec: "AV1", svc: "L3T3", res: 720, sizes: [180, 360] },
  { codec: "AV1", svc: "L2T3", res: 360, sizes: [180] },
  { codec: "VP8", svc: "L1T3", res: 360, sizes: [360] },
  { codec: "H264", svc: "L1T3", res: 360, sizes: [360] },
];

const height = (page) => page.evaluate(() => document.getElementById("video").videoHeight);

// The tests mostly wait until the server has forgotten old rates: two run at a time.
describe("layers that no viewer needs", { concurrency: 2 }, () => {
  const here = stage({ before, after });

  for (const { codec, svc, res, sizes } of MODES) {
    test(`${codec} ${svc}`, async () => {
      const stream = `${codec}-${svc}`.toLowerCase();
      const status = async () => await here.server.stream(stream);
      const publisher = await openPage(here.browser, here.server.publishPage(stream, { codec, svc, res: String(res), fps: "15", bitrate: res === 720 ? "2000000" : "800000" }));
      const all = async () => JSON.stringify([await status(), await ask(publisher, "sending")]);
      await onAir(publisher);
      const [smallest] = sizes;
      const comes = (what, lines, [least, most]) =>
        until(what, async () => {
          const { video } = (await status()) ?? {};
          return video?.height === lines && video.frame_rate >= least && video.frame_rate <= most;
        }, { describe: all });
      // A quarter of 15 is not sent: fewer than 5 would look like a pause.
      await comes("without viewers only the smallest comes", smallest, [3, svc.includes("T2") ? 9 : 7]);
      await until("the page hears its session", () => ask(publisher, "isHeard"));

      const viewer = await openPage(here.browser, null);
      const from = Date.now();
      const session = await openSession(viewer, here.server.watchPage(stream));
      await pictureMoves(viewer, { readings: 2 });
      figure(`${codec} ${svc}, a viewer of a publisher that saved: picture`, [Date.now() - from]);
      await until("the whole picture is shown", async () => (await height(viewer)) === res, { describe: all });
      figure(`${codec} ${svc}, a viewer of a publisher that saved: whole picture`, [Date.now() - from]);
      await comes("all of it comes", res, [12, 18]);

      const wish = async (body) => assert.equal((await session.wish(body)).status, 200);
      for (const lines of sizes.filter((lines) => lines < res)) {
        await wish(JSON.stringify({ maxHeight: lines }));
        const wished = Date.now();
        await comes(`no more than ${lines} lines come`, lines, [12, 18]);
        figure(`${codec} ${svc}, layers that nobody watches are off after`, [Date.now() - wished], { target: "≤ 5 s", note: "as the API shows it" });
        await until("it is shown what it wished", async () => (await height(viewer)) === lines, { describe: all });
        await pictureMoves(viewer, { after: Date.now() });
        const again = Date.now();
        await wish("{}");
        await until("the whole picture is shown again", async () => (await height(viewer)) === res, { describe: all });
        figure(`${codec} ${svc}, the whole picture is back after`, [Date.now() - again]);
        await pictureMoves(viewer, { after: Date.now() });
      }
      await wish('{"temporalLayerId":0}');
      await comes("only the lowest temporal layer comes", res, [3, svc.includes("T2") ? 9 : 7]);
      await wish("{}");
      await comes("all come again", res, [12, 18]);
      await pictureMoves(viewer, { after: Date.now() });
      assert.deepEqual(viewer.complaints, []);
      await viewer.end();
      await comes("the smallest is left", smallest, [3, svc.includes("T2") ? 9 : 7]);
      assert.deepEqual(publisher.complaints, []);
      await publisher.end();
    });
  }
});
