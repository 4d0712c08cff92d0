/** Watching over a network that delays and loses. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, launchBrowser, onAir, openPage, pictureMoves, stage } from "../lib/browser.mjs";
import { figure } from "../lib/figures.mjs";
import { Impair, freeUdpPort, goThrough, mediaPort } from "../lib/impair.mjs";
import { Server } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

const SMALL = { codec: "VP8", res: "360", fps: "30" };
/** One-way delay each way, and what a viewer's downlink loses. */
const NETWORK = { up: "delay=25ms", down: "delay=25ms loss=1%" };
/** Enough for some lost packets to be sent again: 360p is some 60 packets a second. */
const FRAMES = 120;

describe("a bad network", () => {
  const here = stage({ before, after });

  test("the picture moves over 50 ms and 1 % loss", async () => {
    const { server, browser } = here;
    const impair = await Impair.start(await mediaPort(server), NETWORK);
    try {
      const publisher = await openPage(browser, server.publishPage("lossy", SMALL));
      await onAir(publisher);
      const viewer = await openPage(browser, null, { record: true });
      await goThrough(viewer, impair);
      await viewer.goto(server.watchPage("lossy"), { waitUntil: "domcontentloaded" });
      await pictureMoves(viewer);
      await until("frames were shown", () => viewer.evaluate((count) => window.shownFrames.length >= count, FRAMES));
      await until("statistics", async () => (await ask(viewer, "stats"))?.freezes != null);

      const { flows } = await impair.stats();
      const down = flows.map(({ links }) => links.down);
      const sum = (count) => down.reduce((total, link) => total + count(link), 0);
      assert.ok(sum((link) => link.delivered.datagrams) > FRAMES, "media came through the relay");
      assert.ok(sum((link) => link.lost_random) > 0, "and some of it was lost there");
      const { freezes, rttMs } = await ask(viewer, "stats");
      const frames = await viewer.evaluate(() => window.shownFrames.map(({ shownAt }) => shownAt));
      figure("time between shown frames, RTT 50 ms, 1 % loss", frames.slice(1).map((at, index) => at - frames[index]), {
        note: `${freezes} freezes, RTT ${Math.round(rttMs)} ms`,
      });
      assert.deepEqual([viewer.complaints, publisher.complaints], [[], []]);
      await viewer.end();
      await publisher.end();
    } finally {
      await impair.stop();
    }
  });
});

describe("a server behind a port forward", () => {
  test("clients go to the address and the port that are advertised, and nowhere else", async () => {
    const port = await freeUdpPort();
    const impair = await Impair.start(port);
    const env = { NOWCAST_MEDIA_UDP_PORT: String(port), NOWCAST_MEDIA_ADVERTISED_ADDRESSES: impair.address };
    const server = await Server.start({ env });
    const browser = await launchBrowser();
    try {
      const publisher = await openPage(browser, null);
      await goThrough(publisher);
      await publisher.goto(server.publishPage("forwarded", SMALL), { waitUntil: "domcontentloaded" });
      await onAir(publisher);
      const told = await publisher.evaluate(() => window.peers[0].remoteDescription.sdp.match(/^a=candidate:.*$/gm));
      assert.deepEqual(told.map((line) => line.split(" ").slice(4, 6).join(":")), told.map(() => impair.address));
      const viewer = await openPage(browser, server.watchPage("forwarded"));
      await pictureMoves(viewer);
      const { flows } = await impair.stats();
      assert.ok(flows.some(({ up }) => up.bytes > 10_000), "the publisher's media went through the relay");
      assert.ok(flows.some(({ down }) => down.bytes > 10_000), "the viewer's media came through the relay");
      await viewer.end();
      await publisher.end();
    } finally {
      await browser.close();
      await server.stop();
      await impair.stop();
    }
  });
});
