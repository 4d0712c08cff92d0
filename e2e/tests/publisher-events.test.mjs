/** A publisher that is not our page hears by its own WHIP session what its audience has use for. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { openPage, stage } from "../lib/browser.mjs";
import { openSession } from "../lib/session.mjs";
import { until } from "../lib/until.mjs";

const STREAM = "plain-publisher";

describe("what a publisher hears", () => {
  const here = stage({ before, after });
  let publisher;

  const heard = () => publisher.evaluate(() => window.heard);
  const hears = (what, question) => until(what, async () => question((await heard()).at(-1) ?? []), { describe: async () => JSON.stringify((await heard()).slice(-3)) });
  const wanted = (layers) => layers.map(({ rid, active }) => `${rid}${active ? "" : "-"}`).join(" ");

  before(async () => {
    publisher = await openPage(here.browser, new URL("/favicon.svg", here.server.url).href);
    await publisher.evaluate(async (endpoint) => {
      const canvas = document.createElementNS("http://www.w3.org/1999/xhtml", "canvas");
      Object.assign(canvas, { width: 1280, height: 720 });
      const pen = canvas.getContext("2d");
      let n = 0;
      setInterval(() => {
        pen.fillStyle = `hsl(${(n += 7)} 60% 50%)`;
        pen.fillRect(0, 0, 1280, 720);
      }, 66);
      const peer = new RTCPeerConnection();
      const sendEncodings = [
        { rid: "small", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
        { rid: "large", maxBitrate: 1_200_000 },
      ];
      peer.addTransceiver(canvas.captureStream(15).getVideoTracks()[0], { direction: "sendonly", sendEncodings });
      await peer.setLocalDescription();
      const headers = { "Content-Type": "application/sdp" };
      const answer = await fetch(endpoint, { method: "POST", headers, body: peer.localDescription.sdp });
      await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
      const links = answer.headers.get("link");
      const linked = (relation) => new URL(new RegExp(`<([^>]*)>; rel="urn:nowcast:whip:ext:${relation}"`).exec(links)[1], endpoint).href;
      window.session = new URL(answer.headers.get("location"), endpoint).href;
      window.layers = linked("wanted-layers");
      const subscribed = await fetch(linked("server-sent-events"), { method: "POST" });
      const events = new EventSource(new URL(subscribed.headers.get("location"), endpoint).href);
      window.heard = [];
      window.viewers = null;
      events.addEventListener("wantedlayers", ({ data }) => window.heard.push(JSON.parse(data).wanted_layers));
      events.addEventListener("viewercount", ({ data }) => (window.viewers = JSON.parse(data).viewercount));
    }, new URL(`/whip/${STREAM}`, here.server.url).href);
  });

  test("all is wanted at first, and only the smallest where nobody watches", async () => {
    await hears("nobody needs the larger one", (layers) => wanted(layers) === "small large-");
    assert.ok((await heard()).some((layers) => wanted(layers) === "small large"), JSON.stringify(await heard()));
    const { wanted_layers: layers } = await publisher.evaluate(async () => await (await fetch(window.layers)).json());
    assert.equal(wanted(layers), "small large-");
    assert.deepEqual(Object.keys(layers[0]), ["rid", "active", "max_bitrate_bps", "max_framerate", "max_spatial_layer", "max_temporal_layer"]);
    // RFC 9725 §4.1.
    assert.equal(await publisher.evaluate(async () => (await fetch(window.session)).status), 204);
  });

  test("a viewer, and its wishes", async () => {
    const viewer = await openPage(here.browser, null);
    const { wish } = await openSession(viewer, here.server.watchPage(STREAM));
    await hears("all is wanted", (layers) => /large$/.test(wanted(layers)));
    await until("it hears how many watch", () => publisher.evaluate(() => window.viewers === 1));
    assert.equal((await wish('{"maxFrameRate":8}')).status, 200);
    await hears("fewer pictures are wanted", (layers) => layers.at(-1)?.max_framerate === 8);
    assert.equal((await wish('{"maxWidth":640}')).status, 200);
    await hears("the larger one is not wanted", (layers) => wanted(layers) === "small large-" && layers[0].max_framerate === null);
    assert.equal((await wish("{}")).status, 200);
    await hears("all is wanted again", (layers) => /large$/.test(wanted(layers)));
    await viewer.end();
    await hears("nobody needs the larger one", (layers) => wanted(layers) === "small large-");
  });

  test("its events end with its session", async () => {
    assert.equal(await publisher.evaluate(async () => (await fetch(window.session, { method: "DELETE" })).status), 200);
    assert.equal(await publisher.evaluate(async () => (await fetch(window.layers)).status), 404);
  });
});
