/** Each page, dark and light, on a desk and on a phone: nothing to complain about for the browser. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { onAir, openPage, stage, watchState } from "../lib/browser.mjs";
import { until } from "../lib/until.mjs";

describe("pages", () => {
  const here = stage({ before, after });
  let publisher;
  let own = 0;

  before(async () => {
    publisher = await openPage(here.browser, here.server.publishPage("show", { codec: "VP8", res: "360", fps: "15" }));
    await onAir(publisher);
  });

  const loaded = (page) => page.waitForLoadState("load");
  const pages = {
    home: [() => here.server.url, async (page) => {
      await loaded(page);
      await until("home lists what is live", () => page.evaluate(() => document.body.innerText.includes("show")));
    }],
    "publish, not started": [() => here.server.page("publish", "idle"), loaded],
    // A name of its own each time: a window that is shut without a word leaves its name taken for some seconds.
    "publish, test picture": [() => here.server.publishPage(`own-${(own += 1)}`, { codec: "VP8", res: "360", fps: "15" }), onAir],
    "watch, waiting": [() => here.server.watchPage("nobody"), (page) => watchState(page, "waiting")],
    "watch, live": [() => here.server.watchPage("show"), (page) => watchState(page, "live")],
  };

  for (const [name, [address, ready]] of Object.entries(pages)) {
    test(name, async () => {
      for (const colorScheme of ["dark", "light"]) {
        for (const width of [1280, 390]) {
          const where = `${name}, ${colorScheme}, ${width} px`;
          const page = await openPage(here.browser, null, { colorScheme, viewport: { width, height: width === 390 ? 844 : 720 } });
          const response = await page.goto(address(), { waitUntil: "domcontentloaded" });
          assert.equal(response.status(), 200, where);
          assert.match(response.headers()["content-security-policy"] ?? "", /default-src|script-src/, where);
          await ready(page);
          const { inner, scroll, title } = await page.evaluate(() => ({
            inner: innerWidth,
            scroll: document.documentElement.scrollWidth,
            title: document.title,
          }));
          assert.ok(scroll <= inner, `${where}: ${scroll} px of page in a window of ${inner} px`);
          assert.ok(title.includes("Nowcast"), where);
          assert.deepEqual(page.complaints, [], where);
          await page.end();
        }
      }
    });
  }

  test("an illegal name is explained", async () => {
    for (const path of ["/watch/a%20b", "/publish/a%20b", `/watch/${"x".repeat(200)}`]) {
      const page = await openPage(here.browser);
      const response = await page.goto(here.server.url + path, { waitUntil: "domcontentloaded" });
      assert.equal(response.status(), 400, path);
      await until(`${path} says what a name looks like`, () =>
        page.evaluate(() => /not a stream name/.test(document.body.innerText) && /Letters, digits/.test(document.body.innerText)),
      );
      await page.end();
    }
    await publisher.end();
  });
});
