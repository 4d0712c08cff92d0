/** WHEP as players other than our page speak it. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { onAir, openPage, stage } from "../lib/browser.mjs";
import { installPeer } from "../lib/peer.mjs";
import { until } from "../lib/until.mjs";

describe("WHEP by hand", () => {
  const here = stage({ before, after });
  let publisher;
  let page;

  before(async () => {
    const { server, browser } = here;
    publisher = await openPage(browser, server.publishPage("hand", { codec: "VP8", res: "360", fps: "30" }));
    await onAir(publisher);
  });

  const open = async () => {
    page = await openPage(here.browser, `${here.server.url}/healthz`);
    await installPeer(page);
  };
  const frames = () => page.evaluate(() => whep.frames);
  const framesFlow = async (count = 10) => {
    const from = await frames();
    await until("frames are shown", async () => (await frames()) >= from + count, {
      describe: () => page.evaluate(async () => JSON.stringify({ frames: whep.frames, state: whep.pc.connectionState, pair: await whep.pair() })),
    });
  };

  test("the server offers to an empty POST, and takes the answer by PATCH", async () => {
    await open();
    const { status, offer } = await page.evaluate((endpoint) => whep.answer(endpoint), `${here.server.url}/whep/hand`);
    assert.ok(status >= 200 && status < 300, `PATCH answers ${status}`);
    assert.match(offer, /^a=setup:(actpass|passive)/m);
    assert.match(offer, /^a=sendonly/m);
    await framesFlow();
    assert.equal(await page.evaluate(() => whep.remove()), 200);
    await until("the server says goodbye", () => page.evaluate(() => whep.transport() === "closed"));
    await page.end();
  });

  test("ICE restarts by PATCH, and the picture goes on", async () => {
    await open();
    await page.evaluate((endpoint) => whep.offer(endpoint), `${here.server.url}/whep/hand`);
    await framesFlow();
    const before = await page.evaluate(() => whep.pair());
    const restart = await page.evaluate(() => whep.restart());
    assert.equal(restart.status, 200, JSON.stringify(restart));
    assert.match(restart.type, /^application\/trickle-ice-sdpfrag/);
    assert.ok(restart.ufragChanged, "the server has new credentials");
    assert.ok(restart.etag && restart.etag !== restart.oldEtag, "a new ICE session has a new tag");
    await until("the new ICE session connects", async () => {
      const pair = await page.evaluate(() => whep.pair());
      return pair.ufrag !== before.ufrag && ["connected", "completed"].includes(pair.ice);
    }, { describe: () => page.evaluate(async () => JSON.stringify(await whep.pair())) });
    await framesFlow(30);
    assert.equal(await page.evaluate(() => whep.pc.connectionState), "connected");

    const stale = await page.evaluate((etag) => whep.patch("a=end-of-candidates\r\n", { "If-Match": etag }), restart.oldEtag);
    assert.equal(stale.status, 412, "the old tag is no longer taken");
    await page.evaluate(() => whep.remove());
    await page.end();
  });

  test("a session is gone after DELETE", async () => {
    await open();
    await page.evaluate((endpoint) => whep.offer(endpoint), `${here.server.url}/whep/hand`);
    await framesFlow();
    assert.equal(await page.evaluate(() => whep.remove()), 200);
    const status = await page.evaluate(async () => (await fetch(whep.location)).status);
    assert.equal(status, 404);
    await until("no viewer is left", async () => (await here.server.stream("hand")).viewers === 0);
    await page.end();
    await publisher.end();
  });
});
