/** A publisher of several sizes sends those that a viewer needs, at bit rates that fit the viewers' networks. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, pictureMoves, stage } from "../lib/browser.mjs";
import { figure } from "../lib/figures.mjs";
import { Impair, goThrough, mediaPort } from "../lib/impair.mjs";
import { openSession } from "../lib/session.mjs";
import { until } from "../lib/until.mjs";

const STREAM = "saving";
const THREE_SIZES = { codec: "VP8", res: "720", fps: "15", simulcast: "1" };

describe("audience", () => {
  const here = stage({ before, after });
  let publisher;

  const status = async () => await here.server.stream(STREAM);
  const coming = async () => ((await status())?.video?.layers ?? []).map(({ rid }) => rid).join(" ");
  const comes = (what, rids) => until(what, async () => (await coming()) === rids, { describe: async () => JSON.stringify(await status()) });
  const height = (page) => page.evaluate(() => document.getElementById("video").videoHeight);
  const words = () => publisher.evaluate(() => document.getElementById("limitation").textContent);

  before(async () => {
    publisher = await openPage(here.browser, here.server.publishPage(STREAM, THREE_SIZES));
    await onAir(publisher);
  });

  test("without viewers only the smallest is sent, and the page says so", async () => {
    await comes("only the smallest comes", "q");
    const wanted = (await status()).publisher.wanted_layers;
    assert.deepEqual(wanted.map(({ rid, active }) => [rid, active]), [["q", true], ["h", false], ["f", false]]);
    await until("the page says what it saves", async () => /nobody needs more than 180p/.test(await words()));
  });

  test("who comes is shown the largest", async () => {
    const viewer = await openPage(here.browser, here.server.watchPage(STREAM));
    const from = Date.now();
    await pictureMoves(viewer, { readings: 2 });
    const picture = Date.now() - from;
    await until("the largest is shown", async () => (await height(viewer)) === 720);
    figure("a viewer of a publisher that saved: picture", [picture]);
    figure("a viewer of a publisher that saved: largest picture", [Date.now() - from]);
    await until("nobody needs the others", async () => /^f( q)?$/.test(await coming()), { describe: coming });
    assert.deepEqual(viewer.complaints, []);

    // And when it is gone, the uplink is saved again.
    await viewer.end();
    const gone = Date.now();
    await comes("only the smallest comes", "q");
    figure("sizes that nobody watches are off after", [Date.now() - gone], { target: "≤ 5 s", note: "as the API shows it, up to 2.5 s later" });
  });

  test("who wishes fewer lines does not keep larger sizes on", async () => {
    const viewer = await openPage(here.browser, null);
    const { wish } = await openSession(viewer, here.server.watchPage(STREAM));
    await until("the largest is shown", async () => (await height(viewer)) === 720);
    assert.equal((await wish('{"maxHeight":360}')).status, 200);
    await until("it is shown what it wished", async () => (await height(viewer)) === 360);
    await comes("the largest is not sent any more", "h q");
    assert.equal(await height(viewer), 360);
    assert.equal((await wish("{}")).status, 200);
    await until("the largest is shown again", async () => (await height(viewer)) === 720);
    // The same by columns.
    assert.equal((await wish('{"maxWidth":320}')).status, 200);
    await until("it is shown what it wished", async () => (await height(viewer)) === 180);
    await comes("the larger ones are not sent any more", "q");
    assert.equal((await wish("{}")).status, 200);
    await until("the largest is shown again", async () => (await height(viewer)) === 720);
    await viewer.end();
  });

  test("pictures that nobody wishes to see are not made", async () => {
    const viewer = await openPage(here.browser, null);
    const session = await openSession(viewer, here.server.watchPage(STREAM));
    const wish = async (body) => assert.equal((await session.wish(body)).status, 200);
    const largest = async () => (await status()).video?.layers.find(({ rid }) => rid === "f");
    const rate = (what, least, most) =>
      until(what, async () => {
        const layer = await largest();
        return layer && layer.frame_rate >= least && layer.frame_rate <= most && (await height(viewer)) === 720;
      }, { describe: async () => JSON.stringify([await status(), await ask(publisher, "sending")]) });
    await rate("all pictures come", 13, 17);
    await wish('{"maxFrameRate":8}');
    await rate("fewer pictures come", 6, 9);
    await until("the page keeps to it", async () => (await ask(publisher, "sending")).at(-1).maxFrameRate === 8);
    await wish("{}");
    await rate("all pictures come again", 13, 17);
    // One temporal layer less, of three.
    await wish('{"temporalLayerId":1}');
    await until("it is told", async () => (await status()).publisher.wanted_layers.at(-1).max_temporal_layer === 1);
    await rate("the layer is not made", 6, 9);
    await wish("{}");
    await rate("it is made again", 13, 17);
    assert.deepEqual(viewer.complaints, []);
    await viewer.end();
  });

  test("who watches through a narrow network is given most of it", async () => {
    const { server, browser } = here;
    const impair = await Impair.start(await mediaPort(server), { up: "delay=25ms", down: "rate=1600k delay=25ms" });
    try {
      const viewer = await openPage(browser, null);
      await goThrough(viewer, impair);
      await viewer.goto(server.watchPage(STREAM), { waitUntil: "domcontentloaded" });
      await pictureMoves(viewer);
      const most = async () => (await status()).publisher.wanted_layers.filter(({ active }) => active).at(-1);
      await until("a size is sent that fits", async () => {
        const { rid, max_bitrate_bps: bps } = await most();
        return rid === "f" && bps > 1_000_000 && bps < 1_600_000;
      }, { describe: async () => JSON.stringify((await status()).publisher.wanted_layers) });
      await until("the viewer is shown it", async () => (await height(viewer)) === 720, { describe: async () => JSON.stringify(await ask(viewer, "report")) });
      // The network heals.
      await impair.tell("down rate=20M");
      // Probes end where a tenth more would not be told from none.
      await until("nine tenths of the largest and more", async () => {
        const { rid, max_bitrate_bps: bps } = await most();
        return rid === "f" && bps >= 2_200_000 && (await height(viewer)) === 720;
      }, { describe: async () => JSON.stringify([(await status()).publisher.wanted_layers, await ask(viewer, "report")]) });
      assert.deepEqual(viewer.complaints, []);
      await viewer.end();
    } finally {
      await impair.stop();
    }
  });

  test("the publisher's page has nothing to complain about", () => assert.deepEqual(publisher.complaints, []));
});
