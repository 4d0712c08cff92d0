/**
 * The two browser rows of the first-stream table, with more samples than the tests take.
 *
 *     node e2e/measure.mjs [joins|glass]
 *
 * Prints JSON lines and a table. Wants a machine that does nothing else.
 */

import { launchBrowser, onAir, openPage, pictureMoves } from "./lib/browser.mjs";
import { FfmpegPublisher } from "./lib/ffmpeg.mjs";
import { figure, table } from "./lib/figures.mjs";
import { joinFigures, joinRepeatedly } from "./lib/joins.mjs";
import { Server } from "./lib/server.mjs";
import { pause } from "./lib/until.mjs";

const what = process.argv[2] ?? "all";
const JOINS = 20;
const SECONDS = 20;
/** Spread over ten seconds, in no step with anything. */
const gaps = Array.from({ length: JOINS }, (_, i) => ((i * 7919) % 3_000));

const rows = [];
const keep = (row) => rows.push(row);
const server = await Server.start();
const browser = await launchBrowser();
try {
  if (what !== "joins") await glassToGlass();
  if (what !== "glass") await joins();
} finally {
  await browser.close();
  await server.stop();
}
console.log(`\n${table(rows)}`);

async function glassToGlass() {
  for (const codec of ["VP8", "H264"]) {
    const publisher = await openPage(browser, server.publishPage(`glass-${codec}`, { codec, res: "720", fps: "30" }));
    await onAir(publisher);
    const viewer = await openPage(browser, server.watchPage(`glass-${codec}`));
    await pictureMoves(viewer);
    await pause(3_000); // the encoder's and the player's first adaptations
    const delays = await viewer.evaluate((frames) => window.nowcast.glassToGlass(frames), SECONDS * 30);
    keep(figure(`glass to glass, Chromium to Chromium, ${codec} 720p30`, delays, { target: "median ≤ 150 ms" }));
    await viewer.end();
    await publisher.end();
  }
}

async function joins() {
  const page = await openPage(browser, server.publishPage("late", { codec: "VP8", res: "720", fps: "30" }));
  await onAir(page);
  await pause(10_000);
  const asked = await joinRepeatedly(browser, server, "late", gaps);
  joinFigures("Chromium publishes", asked.joins).forEach(keep);
  await page.end();

  const ffmpeg = FfmpegPublisher.start(`${server.url}/whip/rare`, { keyFrames: 300 });
  try {
    await ffmpeg.live(server, "rare");
    await pause(3_000);
    const deaf = await joinRepeatedly(browser, server, "rare", gaps.map((gap) => gap / 4));
    joinFigures("ffmpeg -g 300 publishes", deaf.joins).forEach(keep);
  } finally {
    await ffmpeg.stop();
  }
}
