/** Ten tabs of one browser watch the same stream: one address, one pool of HTTP connections. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, pictureMoves, sessions, stage, watchState } from "../lib/browser.mjs";
import { figure } from "../lib/figures.mjs";
import { until } from "../lib/until.mjs";

const VIEWERS = 10;

describe("a crowd", () => {
  const here = stage({ before, after });

  test(`${VIEWERS} viewers at once`, async () => {
    const { server, browser } = here;
    const publisher = await openPage(browser, server.publishPage("crowd", { codec: "VP8", res: "360", fps: "30" }));
    await onAir(publisher);
    const context = await browser.newContext({ viewport: { width: 640, height: 480 } });
    const viewers = await Promise.all(
      Array.from({ length: VIEWERS }, () => openPage(browser, server.watchPage("crowd"), { context })),
    );
    await Promise.all(viewers.map((viewer) => pictureMoves(viewer)));
    await Promise.all(viewers.map((viewer) => watchState(viewer, "live")));
    await until("the API counts them", async () => (await server.stream("crowd")).viewers === VIEWERS);
    // All viewers continue: none was served at the cost of another.
    const now = Date.now();
    await Promise.all(viewers.map((viewer) => pictureMoves(viewer, { after: now })));
    assert.deepEqual(viewers.map(sessions), viewers.map(() => 1));
    figure(`WHEP POST to first frame, ${VIEWERS} tabs at once`, await Promise.all(viewers.map((viewer) => ask(viewer, "postToFirstFrameMs"))));
    assert.deepEqual(viewers.flatMap(({ complaints }) => complaints), []);

    await context.close();
    await until("all have left", async () => (await server.stream("crowd")).viewers === 0);
    await publisher.end();
  });
});
