/** Publisher loss is not viewer loss: viewers keep their session, and the page says what is going on. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, pictureMoves, sessions, stage, watchState } from "../lib/browser.mjs";
import { until } from "../lib/until.mjs";

const SMALL = { res: "360", fps: "30" };

describe("viewers and a publisher who comes and goes", () => {
  const here = stage({ before, after });

  test("a viewer who is there first waits, and starts by itself", async () => {
    const { server, browser } = here;
    const viewer = await openPage(browser, server.watchPage("early"));
    await watchState(viewer, "waiting");
    assert.match(await viewer.textContent("#title"), /waiting/i);
    const publisher = await openPage(browser, server.publishPage("early", { codec: "VP8", ...SMALL }));
    await watchState(viewer, "live");
    await pictureMoves(viewer);
    assert.equal(sessions(viewer), 1, "the session that waited is the session that plays");
    assert.deepEqual([viewer.complaints, publisher.complaints], [[], []]);
    await viewer.end();
    await publisher.end();
  });

  test("the publisher's page is reloaded while two watch", async () => {
    const { server, browser } = here;
    const publisher = await openPage(browser, server.publishPage("reload", { codec: "VP8", ...SMALL }));
    await onAir(publisher);
    const viewers = [await openPage(browser, server.watchPage("reload")), await openPage(browser, server.watchPage("reload"))];
    for (const viewer of viewers) await pictureMoves(viewer);
    const session = (await server.stream("reload")).publisher.session;

    const reloadedAt = Date.now();
    await publisher.reload({ waitUntil: "domcontentloaded" });
    await onAir(publisher);
    for (const viewer of viewers) {
      await pictureMoves(viewer, { after: reloadedAt });
      await watchState(viewer, "live");
      assert.equal(sessions(viewer), 1, "no new WHEP session");
    }
    const status = await server.stream("reload");
    assert.notEqual(status.publisher.session, session);
    assert.equal(status.viewers, 2);
    for (const page of [publisher, ...viewers]) {
      assert.deepEqual(page.complaints, []);
      await page.end();
    }
  });

  test("the publisher leaves, the page says so, and goes on with another codec", async (t) => {
    const { server, browser } = here;
    const publisher = await openPage(browser, server.publishPage("switch", { codec: "VP8", ...SMALL }));
    await onAir(publisher);
    const sendable = await publisher.evaluate(() => RTCRtpSender.getCapabilities("video").codecs.map(({ mimeType }) => mimeType));
    const viewers = [await openPage(browser, server.watchPage("switch")), await openPage(browser, server.watchPage("switch"))];
    for (const viewer of viewers) await pictureMoves(viewer);

    for (const codec of ["H264", "VP9", "VP8"].filter((codec) => sendable.includes(`video/${codec}`))) {
      await t.test(`to ${codec}`, async () => {
        await publisher.goto("about:blank");
        for (const viewer of viewers) {
          await watchState(viewer, "paused");
          assert.match(await viewer.textContent("#title"), /paused/i);
        }
        const cameBackAt = Date.now();
        await publisher.goto(server.publishPage("switch", { codec, res: codec === "VP9" ? "480" : "360", fps: "30" }));
        for (const viewer of viewers) {
          await pictureMoves(viewer, { after: cameBackAt });
          await watchState(viewer, "live");
          await until(`the viewer decodes ${codec}`, async () => (await ask(viewer, "stats"))?.codec === codec);
          await until("sound goes on", async () => ((await ask(viewer, "stats"))?.audioBitrate ?? 0) > 1_000);
          assert.equal(sessions(viewer), 1, "no new WHEP session");
        }
      });
    }
    for (const page of [publisher, ...viewers]) {
      assert.deepEqual(page.complaints, []);
      await page.end();
    }
  });
});
