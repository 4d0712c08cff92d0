/** Several sizes of one picture: which size a viewer gets, by preference and by network. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, pictureMoves, stage } from "../lib/browser.mjs";
import { Impair, goThrough, mediaPort } from "../lib/impair.mjs";
import { until } from "../lib/until.mjs";

const THREE_SIZES = { codec: "VP8", res: "720", fps: "15", simulcast: "1" };

const height = (page) => page.evaluate(() => document.getElementById("video").videoHeight);
const becomes = (page, lines) => until(`the picture has ${lines} lines`, async () => (await height(page)) === lines);

describe("layers", () => {
  const here = stage({ before, after });
  let publisher;
  let first;

  before(async () => {
    publisher = await openPage(here.browser, here.server.publishPage("sizes", THREE_SIZES));
    await onAir(publisher);
    // With a viewer: without one, sizes that have not come within 4 s are not asked for any more.
    first = await openPage(here.browser, here.server.watchPage("sizes"));
    await until("three sizes come in", async () => (await here.server.stream("sizes")).video?.layers.length === 3);
  });

  test("the API names them, largest first", async () => {
    const { layers } = (await here.server.stream("sizes")).video;
    await first.end();
    assert.deepEqual(layers.map(({ rid, height }) => [rid, height]), [["f", 720], ["h", 360], ["q", 180]]);
  });

  test("a viewer chooses, by the menu and by WHEP", async () => {
    const viewer = await openPage(here.browser, here.server.watchPage("sizes"));
    await pictureMoves(viewer);
    await becomes(viewer, 720);
    await until("the menu is there", () => viewer.isVisible("#layer"));
    const session = new Promise((resolve) => viewer.on("request", (request) => /\/layers$/.test(request.url()) && resolve(request.url())));
    await viewer.selectOption("#layer", "q");
    await becomes(viewer, 180);

    const layers = await session;
    const wish = (body) => fetch(layers, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const refused = await wish('{"encodingId":"x"}');
    assert.equal(refused.status, 400);
    assert.match((await refused.json()).fix ?? "", /q, h, f/);
    assert.equal((await wish("[]")).status, 400);
    assert.equal((await wish('{"maxHeight":400}')).status, 200);
    await becomes(viewer, 360);
    const known = await (await fetch(layers)).json();
    assert.deepEqual([known.active, known.wish.maxHeight], ["h", 400]);
    // The best available size, once the publisher knows that no viewer needs a larger one.
    assert.match(known.reason, /^(wished|best)$/);
    assert.equal((await wish("{}")).status, 200);
    await becomes(viewer, 720);

    // Paused: no picture until the viewer resumes.
    assert.equal((await wish('{"paused":true}')).status, 200);
    const sent = async () => (await (await fetch(layers.replace(/\/layers$/, ""))).json()).video.packets_sent;
    await until("nothing is sent any more", async () => {
      const before = await sent();
      await new Promise((resolve) => setTimeout(resolve, 300));
      return (await sent()) === before;
    });
    assert.equal((await wish("{}")).status, 200);
    await pictureMoves(viewer, { after: Date.now() });
    await viewer.end();
  });

  test("a viewer chooses on a data channel", async () => {
    const viewer = await openPage(here.browser, here.server.watchPage("nobody-publishes-this"));
    await viewer.evaluate(async (endpoint) => {
      const peer = new RTCPeerConnection();
      peer.addTransceiver("video", { direction: "recvonly" });
      const channel = peer.createDataChannel("layers");
      const video = document.createElement("video");
      Object.assign(video, { id: "own", muted: true, autoplay: true });
      document.body.append(video);
      peer.ontrack = ({ track }) => (video.srcObject = new MediaStream([track]));
      await peer.setLocalDescription();
      const answer = await fetch(endpoint, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: peer.localDescription.sdp });
      await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
      await new Promise((resolve) => (channel.onopen = resolve));
      window.say = (text) =>
        new Promise((resolve) => {
          channel.onmessage = ({ data }) => resolve(JSON.parse(data));
          channel.send(text);
        });
    }, new URL("/whep/sizes", here.server.url).href);
    const say = (text) => viewer.evaluate((text) => window.say(text), text);
    const lines = () => viewer.evaluate(() => document.getElementById("own").videoHeight);
    const shows = (height) => until(`${height} lines are shown`, async () => (await lines()) === height);
    await shows(720);
    const { wish } = await say('{"maxHeight":400,"temporalLayerId":1}');
    assert.deepEqual([wish.maxHeight, wish.temporalLayerId, wish.paused], [400, 1, false]);
    await shows(360);
    assert.equal((await say('{"encodingId":"q"}')).wish.encodingId, "q");
    await shows(180);
    assert.match((await say('{"encodingId":"x"}')).error, /no layer called x/);
    assert.match((await say("[]")).error, /cannot be read/);
    await say("{}");
    await shows(720);
    await viewer.end();
  });

  test("a network that becomes narrow gets a smaller picture, and the large one when it is wide again", async () => {
    const { server, browser } = here;
    const impair = await Impair.start(await mediaPort(server), { up: "delay=25ms", down: "rate=5M delay=25ms" });
    try {
      const viewer = await openPage(browser, null);
      await goThrough(viewer, impair);
      await viewer.goto(server.watchPage("sizes"), { waitUntil: "domcontentloaded" });
      await pictureMoves(viewer);
      await becomes(viewer, 720);
      await impair.tell("down rate=600k");
      await until("a smaller picture", async () => (await height(viewer)) < 720);
      await until("the page says why", () => viewer.evaluate(() => /adapting: your network carries/.test(document.getElementById("about").textContent)));
      const { transport, video } = await ask(viewer, "report");
      assert.equal(video.reason, "network");
      assert.ok(transport.estimate_bps < 1_500_000, `${transport.estimate_bps} b/s`);
      await impair.tell("down rate=5M");
      await becomes(viewer, 720);
      assert.deepEqual(viewer.complaints, []);
      await viewer.end();
    } finally {
      await impair.stop();
    }
  });

  test("the publisher's page has nothing to complain about", () => assert.deepEqual(publisher.complaints, []));
});
