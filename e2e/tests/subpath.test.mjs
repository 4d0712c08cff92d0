/** Below a path of a reverse proxy: the pages publish and watch, and every address leads back below the path. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, launchBrowser, onAir, openPage, pictureMoves } from "../lib/browser.mjs";
import { Proxy } from "../lib/proxy.mjs";
import { Server } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

const ways = {
  "the proxy strips the path and says so": { proxy: { strips: true, says: true }, env: { NOWCAST_HTTP_TRUSTED_PROXIES: "127.0.0.1" } },
  "the proxy strips the path, http.base_path says so": { proxy: { strips: true }, env: { NOWCAST_HTTP_BASE_PATH: "/live" } },
  "the proxy leaves the path, http.base_path says so": { proxy: { strips: false }, env: { NOWCAST_HTTP_BASE_PATH: "/live" } },
};

describe("below a path", () => {
  let browser;
  before(async () => (browser = await launchBrowser()));
  after(() => browser?.close());

  for (const [way, { proxy: how, env }] of Object.entries(ways)) {
    test(way, async () => {
      const server = await Server.start({ env });
      const proxy = await Proxy.start(server.url, how);
      try {
        const page = (path) => openPage(browser, `${proxy.url}${path}`);
        const publisher = await page("/publish/below/it?source=test&autostart=1&simulcast=0&codec=VP8&res=360&fps=15");
        await onAir(publisher);
        const viewer = await page("/watch/below/it");
        await pictureMoves(viewer);
        await until("the session's events are heard", () => ask(publisher, "isHeard"));
        const home = await page("/");
        await until("home lists what is live", () => home.evaluate(() => document.body.innerText.includes("below/it")));
        assert.equal(await home.evaluate(() => document.querySelector(".card-link").href), `${proxy.url}/watch/below/it`);
        assert.equal(await publisher.evaluate(() => document.getElementById("link").value), `${proxy.url}/watch/below/it`);

        for (const each of [publisher, viewer, home]) {
          assert.ok(each.posts.every((url) => url.startsWith(`${proxy.url}/`)), each.posts.join(" "));
          assert.deepEqual(each.complaints, []);
        }
        // Leaving ends the session at its own address.
        await viewer.end();
        await publisher.evaluate(() => document.getElementById("go").click());
        await until("the publisher's session has ended", async () => {
          const response = await fetch(`${proxy.url}/api/v1/streams`);
          return !JSON.stringify(await response.json()).includes('"state":"live"');
        });
        const description = await (await fetch(`${proxy.url}/api/openapi.json`)).json();
        assert.equal(new URL(description.servers[0].url, proxy.origin).pathname, "/live");
        await publisher.end();
        await home.end();
      } finally {
        await proxy.stop();
        await server.stop();
      }
    });
  }
});
