/** Publisher loss is not viewer loss: viewers keep their session, and the page shows the state. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, pictureMoves, sessions, stage, watchState } from "../lib/browser.mjs";
import { figure } from "../lib/figures.mjs";
import { Impair, goThrough, mediaPort } from "../lib/impair.mjs";
import { pause, until } from "../lib/until.mjs";

const SMALL = { res: "360", fps: "30" };

/** Runs in a page: publishes a picture that never changes, without sound. Resolves when it is connected. */
async function publishStill(endpoint) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const context = canvas.getContext("2d");
  const [track] = canvas.captureStream(0).getVideoTracks();
  const pc = (window.pc = new RTCPeerConnection());
  pc.addTransceiver(track, { direction: "sendonly" });
  const connected = new Promise((resolve) => (pc.onconnectionstatechange = () => pc.connectionState === "connected" && resolve()));
  await pc.setLocalDescription();
  const answer = await fetch(endpoint, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: pc.localDescription.sdp });
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  await connected;
  context.fillRect(0, 0, canvas.width, canvas.height);
  track.requestFrame();
}

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

  test("the publisher's page is killed and says no goodbye", async () => {
    const { server, browser } = here;
    const publisher = await openPage(browser, server.publishPage("killed", { codec: "VP8", ...SMALL }));
    await onAir(publisher);
    const viewer = await openPage(browser, server.watchPage("killed"));
    await pictureMoves(viewer);
    const devtools = await publisher.context().newCDPSession(publisher);
    const killedAt = Date.now();
    devtools.send("Page.crash").catch(() => {});
    await watchState(viewer, "paused");
    figure("the publisher's page is killed, and the watch page says so", [Date.now() - killedAt]);
    assert.match(await viewer.textContent("#title"), /paused/i);
    assert.equal(await viewer.isVisible("#badge"), false, "not labelled live");
    assert.notEqual((await server.stream("killed")).publisher, null, "long before the session is given up");
    await publisher.end();

    // It is refused until the old session is given up, and goes on trying.
    const cameBackAt = Date.now();
    const again = await openPage(browser, server.publishPage("killed", { codec: "VP8", ...SMALL }));
    await pictureMoves(viewer, { after: cameBackAt });
    await watchState(viewer, "live");
    figure("it is opened again at once, and the picture goes on", [Date.now() - cameBackAt]);
    assert.equal(sessions(viewer), 1, "no new WHEP session");
    assert.deepEqual(viewer.complaints, []);
    await again.end();
    await viewer.end();
  });

  test("the publisher's network stalls, and the stream goes on in the same session", async () => {
    const { server, browser } = here;
    const impair = await Impair.start(await mediaPort(server));
    try {
      const publisher = await openPage(browser);
      await goThrough(publisher, impair);
      await publisher.goto(server.publishPage("stalls", { codec: "VP8", ...SMALL }), { waitUntil: "domcontentloaded" });
      await onAir(publisher);
      const viewer = await openPage(browser, server.watchPage("stalls"));
      await pictureMoves(viewer);
      const { session } = (await server.stream("stalls")).publisher;
      await impair.tell("up loss=100%");
      await watchState(viewer, "paused");
      const backAt = Date.now();
      await impair.tell("up loss=0%");
      await watchState(viewer, "live");
      figure("the publisher's network is back, and the watch page says so", [Date.now() - backAt]);
      await pictureMoves(viewer, { after: backAt });
      assert.equal((await server.stream("stalls")).publisher.session, session);
      assert.equal(sessions(viewer), 1, "no new WHEP session");
      await viewer.end();
      await publisher.end();
    } finally {
      await impair.stop();
    }
  });

  test("a still picture without sound is not called paused", async () => {
    const { server, browser } = here;
    const publisher = await openPage(browser, server.url);
    await publisher.evaluate(publishStill, new URL("/whip/still", server.url).href);
    const packets = () => publisher.evaluate(async () => [...(await window.pc.getStats()).values()].find(({ type }) => type === "outbound-rtp").packetsSent);
    await until("the picture has been sent", async () => (await packets()) > 0 && (await server.stream("still"))?.video);
    // Three times as long as it takes to be called that.
    const states = new Set();
    const before = await packets();
    for (const began = Date.now(); Date.now() - began < 6_000; await pause(50)) states.add((await server.stream("still")).state);
    console.log(`packets sent meanwhile: ${(await packets()) - before}`);
    assert.deepEqual([...states], ["live"]);
    await publisher.end();
  });
});
