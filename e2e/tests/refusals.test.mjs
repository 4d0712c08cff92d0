/** The answers to a viewer that cannot, or may not, watch. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, describe as state, onAir, openPage, pictureMoves, stage, watchState } from "../lib/browser.mjs";
import { token } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

/** Runs in a page: makes its browser one that does not know AV1. */
function forgetAv1() {
  const original = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (...args) {
    const transceiver = original.apply(this, args);
    if (args[0] === "video") {
      transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities("video").codecs.filter(({ mimeType }) => !/av1/i.test(mimeType)));
    }
    return transceiver;
  };
}

describe("a codec that the browser lacks", () => {
  const here = stage({ before, after });

  test("406 says which, the page says it in words, and plays when the codec changes", async (t) => {
    const { server, browser } = here;
    const publisher = await openPage(browser, server.publishPage("modern", { codec: "AV1", res: "360", fps: "15" }));
    await onAir(publisher);
    if ((await ask(publisher, "problem")) !== null || !(await publisher.evaluate(() => RTCRtpSender.getCapabilities("video").codecs.some(({ mimeType }) => mimeType === "video/AV1")))) {
      return t.skip("this Chromium cannot send AV1");
    }
    await until("the API knows the codec", async () => (await server.stream("modern"))?.video?.codec === "AV1");

    const viewer = await openPage(browser);
    await viewer.addInitScript(forgetAv1);
    const refusal = viewer.waitForResponse((response) => response.request().method() === "POST" && response.url().includes("/whep/"));
    await viewer.goto(server.watchPage("modern"), { waitUntil: "domcontentloaded" });
    const response = await refusal;
    assert.equal(response.status(), 406);
    assert.match(response.headers()["content-type"], /^application\/problem\+json/);
    const problem = await response.json();
    assert.equal(problem.status, 406);
    assert.equal(problem.codec, "AV1");
    assert.ok(problem.offered.includes("VP8") && !problem.offered.includes("AV1"), `offered: ${problem.offered}`);
    assert.ok(problem.detail && problem.fix, "says what is wrong and what to do");
    await watchState(viewer, "unsupported");
    assert.match(await viewer.textContent("#title"), /AV1/);

    await publisher.goto(server.publishPage("modern", { codec: "VP8", res: "360", fps: "15" }), { waitUntil: "domcontentloaded" });
    await watchState(viewer, "live");
    await pictureMoves(viewer);
    await viewer.end();
    await publisher.end();
  });
});

describe("a server with keys", () => {
  const KEY = "e2e";
  const SECRET = "a-secret-of-the-tests-of-at-least-32-bytes";
  const here = stage({ before, after }, { dev: false, env: { NOWCAST_KEYS: `${KEY}: ${SECRET}` } });

  test("without a token there is a clear no, with one in the fragment a picture; an end is an end", async () => {
    const { server, browser } = here;
    const tokens = {
      publish: token({ key: KEY, secret: SECRET, stream: "closed", publish: true }),
      watch: token({ key: KEY, secret: SECRET, stream: "closed", watch: true }),
      other: token({ key: KEY, secret: SECRET, stream: "elsewhere", watch: true }),
      admin: token({ key: KEY, secret: SECRET, stream: "closed", admin: true }),
    };

    const publisher = await openPage(browser, server.publishPage("closed", { codec: "VP8", res: "360" }));
    await until("the publish page is refused", async () => (await ask(publisher, "state")) === "refused", { describe: () => state(publisher) });
    const response = await server.fetch("/whip/closed", { method: "POST", headers: { "Content-Type": "application/sdp" }, body: "v=0\r\n" });
    assert.equal(response.status, 401);
    assert.match(response.headers.get("www-authenticate") ?? "", /^Bearer/);
    assert.match(response.headers.get("content-type"), /^application\/problem\+json/);

    await publisher.goto("about:blank");
    await publisher.goto(server.publishPage("closed", { codec: "VP8", res: "360" }, tokens.publish), { waitUntil: "domcontentloaded" });
    await onAir(publisher);

    const stranger = await openPage(browser, server.watchPage("closed"));
    await watchState(stranger, "unauthorised");
    assert.match(await stranger.textContent("#title"), /token/i);
    const lost = await openPage(browser, server.watchPage("closed", {}, tokens.other));
    await watchState(lost, "unauthorised");
    const viewer = await openPage(browser, server.watchPage("closed", {}, tokens.watch));
    await watchState(viewer, "live");
    await pictureMoves(viewer);

    assert.equal((await server.fetch("/api/v1/streams/closed", { method: "DELETE" })).status, 401);
    const forbidden = await server.fetch("/api/v1/streams/closed", { method: "DELETE", token: tokens.watch });
    assert.equal(forbidden.status, 403);
    await pictureMoves(viewer);

    const kicked = await server.fetch("/api/v1/streams/closed", { method: "DELETE", token: tokens.admin });
    assert.ok(kicked.ok, `DELETE answers ${kicked.status}`);
    await watchState(viewer, "ended");
    await until("the publisher is off the air", async () => (await ask(publisher, "state")) === "ended", { describe: () => state(publisher) });

    for (const secret of [SECRET, ...Object.values(tokens)]) {
      assert.ok(!server.child.output.includes(secret), "neither tokens nor the secret are in the log");
    }
    // The page asks whether its session was ended on purpose; the browser notes the 404 that says so.
    assert.deepEqual(viewer.complaints.filter((complaint) => !/404 .*\/whep\/closed\//.test(complaint)), []);
    for (const page of [publisher, stranger, lost, viewer]) await page.end();
  });
});
