/** SIGTERM: the server sends goodbye to all sessions and ends soon. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, pictureMoves, stage } from "../lib/browser.mjs";
import { figure } from "../lib/figures.mjs";
import { installPeer } from "../lib/peer.mjs";
import { inTime, until } from "../lib/until.mjs";

describe("the end of a server", () => {
  const here = stage({ before, after });

  test("SIGTERM ends it within 10 s, and viewers know", async () => {
    const { server, browser } = here;
    const publisher = await openPage(browser, server.publishPage("last", { codec: "VP8", res: "360", fps: "30" }));
    await onAir(publisher);
    const viewer = await openPage(browser, server.watchPage("last"));
    await pictureMoves(viewer);
    const player = await openPage(browser, `${server.url}/healthz`);
    await installPeer(player);
    await player.evaluate((endpoint) => whep.offer(endpoint), `${server.url}/whep/last`);
    await until("the other player shows frames", () => player.evaluate(() => whep.frames > 5));

    const told = Date.now();
    server.child.process.kill("SIGTERM");
    const exit = await inTime("nowcast has ended", 15_000, server.child.ended);
    const took = Date.now() - told;
    figure("SIGTERM to exit", [took], { target: "≤ 10 s" });
    assert.equal(exit.code, 0, server.child.tail());
    assert.ok(took <= 11_000, `ended after ${took} ms`);
    assert.doesNotMatch(server.child.output, /panic/i);

    // A lost connection takes Chromium 5 s and more to notice; a goodbye is known at once.
    await until("DTLS was closed by the server", () => player.evaluate(() => whep.transport() === "closed"), { within: 3_000 });
    await until("the watch page no longer claims to be live", async () => (await ask(viewer, "state")) !== "live", { within: 15_000 });
    await until("the publish page knows", async () => (await ask(publisher, "state")) !== "connected", { within: 15_000 });
    for (const page of [publisher, viewer, player]) await page.end();
  });
});
