/**
 * Makes the picture of the watch page for the README: docs/images/watch.png, at most 200 kB.
 *
 *     node e2e/picture.mjs [file]
 */

import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { launchBrowser, onAir, openPage, pictureMoves, watchState } from "./lib/browser.mjs";
import { Server } from "./lib/server.mjs";
import { pause, until } from "./lib/until.mjs";

const LARGEST = 200_000;
const file = process.argv[2] ?? fileURLToPath(new URL("../docs/images/watch.png", import.meta.url));

const server = await Server.start();
const browser = await launchBrowser();
try {
  const publisher = await openPage(browser, server.publishPage("demo", { codec: "VP8", res: "720", fps: "30" }));
  await onAir(publisher);
  const viewer = await openPage(browser, server.watchPage("demo"), { colorScheme: "dark", viewport: { width: 840, height: 620 } });
  await watchState(viewer, "live");
  await pictureMoves(viewer);
  await viewer.keyboard.press("i");
  await until("the delay is known", async () => (await viewer.evaluate(() => window.nowcast.latencyMs)) !== null);
  await pause(12_000); // lines that have something to show
  await viewer.mouse.move(500, 300);
  await pause(400);
  const picture = await viewer.screenshot({ type: "png" });
  if (picture.length > LARGEST) throw new Error(`${picture.length} bytes are more than ${LARGEST}`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, picture);
  console.log(`${file}: ${statSync(file).size} bytes`);
} finally {
  await browser.close();
  await server.stop();
}
