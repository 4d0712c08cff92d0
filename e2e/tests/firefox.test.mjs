/** Firefox at both pages: with itself and with Chromium, in every codec that it has. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, pictureMoves, stage, watchState } from "../lib/browser.mjs";
import { FIREFOX, launchFirefox } from "../lib/firefox.mjs";
import { lacksNetwork, skipAloud } from "../lib/network.mjs";
import { Server } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

const SMALL = { res: "360", fps: "30" };
const skip = skipAloud("Firefox", lacksNetwork());
const text = (page, id) => page.evaluate((id) => document.getElementById(id)?.textContent ?? "", id);

describe("Firefox", { skip }, () => {
  const here = stage({ before, after }, { loopback: false });
  let firefox;
  let has;

  before(async () => {
    firefox = await launchFirefox();
    console.log(`${FIREFOX} ${firefox.version}`);
    const page = await firefoxPage();
    await page.goto(`${here.server.url}/healthz`);
    has = await page.evaluate(() => RTCRtpReceiver.getCapabilities("video").codecs.map(({ mimeType }) => mimeType.slice(6).toUpperCase()));
    await page.end();
  });
  after(() => firefox?.close());

  async function firefoxPage(url, options) {
    const page = await firefox.newPage(options);
    if (url) await page.goto(url);
    return page;
  }

  /** Waits until a watch page shows a moving picture and hears sound in `codec`, and looks into its statistics. */
  async function isPlayed(viewer, codec) {
    await watchState(viewer, "live");
    await pictureMoves(viewer);
    return await until("pictures and sound come", async () => {
      const stats = await ask(viewer, "stats");
      return stats?.codec === codec && stats.audioBitrate > 1_000 && stats.frameRate > 5 ? stats : null;
    }, { describe: async () => JSON.stringify(await ask(viewer, "stats")) });
  }

  for (const codec of ["VP8", "VP9", "AV1", "H264"]) {
    test(`publishes ${codec}; Firefox and Chromium watch`, async (t) => {
      if (!has.includes(codec)) return t.skip(skipAloud(`Firefox publishes ${codec}`, `it has ${[...new Set(has)].join(", ")}; H264 comes with OpenH264, which it downloads`));
      const { server, browser } = here;
      const stream = `fox-${codec}`.toLowerCase();
      const publisher = await firefoxPage(server.publishPage(stream, { ...SMALL, codec }));
      await onAir(publisher);
      const viewers = [await firefoxPage(server.watchPage(stream)), await openPage(browser, server.watchPage(stream))];
      for (const viewer of viewers) {
        const stats = await isPlayed(viewer, codec);
        assert.equal(stats.height, 360);
        assert.deepEqual(viewer.complaints, []);
        await viewer.end();
      }
      // A canvas that is captured at a rate gave 20 of 30.
      await until("the test picture comes at its frame rate", async () => (await ask(publisher, "stats"))?.frameRate > 24, {
        describe: async () => JSON.stringify(await ask(publisher, "stats")),
      });
      assert.deepEqual(publisher.complaints, []);
      await publisher.end();
    });
  }

  for (const codec of ["VP8", "VP9", "AV1", "H264"]) {
    test(`watches ${codec} from Chromium, or says what it plays instead`, async () => {
      const { server, browser } = here;
      const stream = `chrome-${codec}`.toLowerCase();
      const publisher = await openPage(browser, server.publishPage(stream, { ...SMALL, codec }));
      await onAir(publisher);
      await until("the codec is known", async () => (await server.stream(stream))?.video?.codec === codec);
      const viewer = await firefoxPage(server.watchPage(stream));
      if (has.includes(codec)) {
        await isPlayed(viewer, codec);
        assert.deepEqual(viewer.complaints, []);
      } else {
        await watchState(viewer, "unsupported");
        assert.equal(await text(viewer, "title"), "This browser cannot play H.264");
        assert.match(await text(viewer, "text"), /published in H\.264\. .*choose VP8 or VP9, which this one plays/);
      }
      await viewer.end();
      await publisher.end();
    });
  }

  test("publishes VP8 in three sizes, and each can be watched", async () => {
    const { server } = here;
    const publisher = await firefoxPage(server.publishPage("fox-sizes", { codec: "VP8", res: "720", fps: "15", simulcast: "1" }));
    await onAir(publisher);
    const viewer = await firefoxPage(server.watchPage("fox-sizes"));
    await pictureMoves(viewer);
    // With a viewer: without one, sizes that have not come within 4 s are not asked for any more.
    await until("three sizes come in", async () => (await server.stream("fox-sizes")).video?.layers.length === 3);
    for (const [rid, height] of [["q", 180], ["h", 360], ["f", 720]]) {
      await viewer.evaluate((rid) => {
        const menu = document.getElementById("layer");
        menu.value = rid;
        menu.dispatchEvent(new Event("change"));
      }, rid);
      await until(`the picture has ${height} lines`, () => viewer.evaluate((height) => document.getElementById("video").videoHeight === height, height));
    }
    await viewer.end();
    await publisher.end();
  });

  for (const codec of ["VP9", "AV1"]) {
    test(`is offered one size of ${codec}, because it drops scalabilityMode`, async () => {
      const { server } = here;
      const stream = `fox-one-${codec}`.toLowerCase();
      const publisher = await firefoxPage(server.publishPage(stream, { ...SMALL, codec, simulcast: "1" }));
      await onAir(publisher);
      await until("pictures come", async () => (await server.stream(stream))?.video?.frame_rate > 10);
      assert.equal((await server.stream(stream)).video.layers.length, 1);
      const box = await publisher.evaluate(() => ({ on: document.getElementById("simulcast").checked, off: document.getElementById("simulcast").disabled }));
      assert.deepEqual(box, { on: false, off: true });
      assert.match(await text(publisher, "simulcast-label"), new RegExp(`^One size only: .* ${codec}`));
      await publisher.end();
    });
  }

  test("says what is wrong with a server on loopback only", async () => {
    const server = await Server.start();
    try {
      for (const [url, title, words] of [
        [server.publishPage("nowhere", SMALL), "problem-title", "problem-text"],
        [server.watchPage("nowhere"), "title", "text"],
      ]) {
        const page = await firefoxPage(url);
        await until("the page says why there is no media", async () => /on the loopback interface/.test(await text(page, title)), {
          describe: () => text(page, title),
        });
        assert.match(await text(page, words), /Start the server without --loopback/);
        await page.end();
      }
    } finally {
      await server.stop();
    }
  });
});
