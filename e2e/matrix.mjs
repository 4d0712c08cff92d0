/**
 * Measures viewers over bad networks, by hand:
 *
 *     node e2e/matrix.mjs [--publish "res=720&codec=VP8"] [cell …]      all cells: about 6 minutes
 *     node e2e/matrix.mjs --list
 *     node e2e/matrix.mjs --trace cliff               with the server's estimate of each viewer, twice a second
 *
 * Chromium publishes 720p straight to the server; Chromium watches through a relay (docs/impair.md). Prints a table and keeps
 * JSON lines in e2e/out/matrix.jsonl. Needs an idle machine. Prints figures and asserts nothing.
 */

import { appendFileSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { launchBrowser, onAir, openPage } from "./lib/browser.mjs";
import { Impair, goThrough, mediaPort } from "./lib/impair.mjs";
import { Server } from "./lib/server.mjs";
import { pause, until } from "./lib/until.mjs";
import { backOnTop, jain, noteFrames, videoStats, watchFor } from "./lib/viewing.mjs";

/** How long a viewer watches before it is judged. */
const SETTLES_MS = 20_000;
/** How long it is judged. */
const JUDGED_MS = 10_000;
/** How long a cliff lasts. */
const CLIFF_MS = 15_000;
/** How long after the cliff it may take to come back. */
const RETURN_MS = 20_000;
/** Headers of IP and UDP, which the relay's rate counts too. */
const HEADER_BYTES = 28;
/** Three sizes of 720p30. */
const PUBLISH = "res=720&fps=30&codec=VP8&simulcast=1";

const near = "delay=25ms";
const CELLS = {
  "1M": steady("rate=1M", near, "≥ 80 %, no freeze, queue ≤ 50 ms"),
  "2M": steady("rate=2M", near, "≥ 80 %, no freeze, queue ≤ 50 ms"),
  cliff: { down: `rate=3M ${near}`, up: near, run: cliff, reach: "freeze ≤ 1.0 s, top ≤ 10 s" },
  loss5: steady("loss=5%", near, "freeze ≤ 0.5 %, frames ≥ 99.5 %"),
  loss10: steady("loss=10%", near, ""),
  bursts: steady("burst=3%/8", near, ""),
  jitter: steady("jitter=100ms shape=spikes", near, ""),
  reorder: steady("reorder=5%/3", near, ""),
  bloat: steady("rate=1M queue=1s", near, "queue ≤ 50 ms"),
  rtt20: steady("rate=2M", "delay=10ms", ""),
  rtt300: steady("rate=2M", "delay=150ms", ""),
  fresh: { down: `rate=5M ${near}`, up: near, run: fresh, reach: "top ≤ 3 s" },
  fair: { down: `rate=5M ${near}`, up: near, run: fair, viewers: 5, reach: "Jain ≥ 0.9" },
};

function steady(what, delay, reach) {
  return { down: `${what} ${delay}`, up: delay, run: settled, reach };
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { publish: { type: "string", default: PUBLISH }, list: { type: "boolean", default: false }, trace: { type: "boolean", default: false } },
});
const chosen = positionals.length > 0 ? positionals : Object.keys(CELLS);
const unknown = chosen.find((name) => !(name in CELLS));
if (unknown) throw new Error(`${unknown} is no cell; there are ${Object.keys(CELLS).join(", ")}`);
if (options.list) {
  for (const [name, { down }] of Object.entries(CELLS)) console.log(`${name.padEnd(8)} ${down}`);
  process.exit(0);
}

const began = Date.now();
/** Time since the beginning, for traces. */
const clock = () => `${((Date.now() - began) / 1e3).toFixed(1)} s`;

/** Lines of the largest picture. The publisher may pause it while no viewer can receive it. */
const TOP = Number(new URLSearchParams(options.publish).get("res") ?? 720);

const server = await Server.start();
const browser = await launchBrowser();
const rows = [];
try {
  const publisher = await openPage(browser, null);
  await goThrough(publisher);
  await publisher.goto(server.publishPage("matrix", Object.fromEntries(new URLSearchParams(options.publish))), { waitUntil: "domcontentloaded" });
  await onAir(publisher);
  // The encoder begins low and takes some seconds to its bit rate.
  await pause(5_000);
  for (const name of chosen) rows.push(await runCell(name, CELLS[name], publisher));
} finally {
  await browser.close();
  await server.stop();
}
console.log(`\n${table(rows)}`);

async function runCell(name, cell, publisher) {
  const { up, down, viewers: count = 1, run, reach } = cell;
  const impair = await Impair.start(await mediaPort(server), { up, down, shared: true });
  const viewers = [];
  try {
    for (let i = 0; i < count; i++) {
      const viewer = await openPage(browser, null, { viewport: { width: 640, height: 360 } });
      viewers.push(viewer);
      await goThrough(viewer, impair);
      await noteFrames(viewer);
      if (options.trace) viewer.on("response", (response) => traced(response, i + 1).catch(() => {}));
      await viewer.goto(server.watchPage("matrix"), { waitUntil: "domcontentloaded" });
    }
    const row = { cell: name, network: down, reach, ...(await run({ impair, viewers, viewer: viewers[0], publisher, rate: rateOf(down) })) };
    mkdirSync(fileURLToPath(new URL("out/", import.meta.url)), { recursive: true });
    appendFileSync(fileURLToPath(new URL("out/matrix.jsonl", import.meta.url)), `${JSON.stringify(row)}\n`);
    console.log(JSON.stringify(row));
    return row;
  } finally {
    for (const viewer of viewers) await viewer.end();
    await impair.stop();
  }
}

/** Prints what the server says of the session of viewer `n`, from the answer that began it until it has ended. */
async function traced(response, n) {
  if (response.request().method() !== "POST" || response.status() !== 201) return;
  const session = new URL(await response.headerValue("location"), response.url());
  for (let before = { at: Date.now(), bytes: 0 }; ; ) {
    const answer = await fetch(session);
    if (!answer.ok) return;
    const { publisher, video: published } = await (await fetch(new URL("/api/v1/streams/matrix", session))).json();
    const wanted = (publisher?.wanted_layers ?? []).map(({ rid, active, max_bitrate_bps }) => {
      const comes = (published?.layers ?? []).find((layer) => layer.rid === rid)?.bitrate_bps ?? 0;
      return `${rid} ${Math.round(comes / 1e3)} of ${active ? max_bitrate_bps / 1e3 : "off"}`;
    });
    const { video, transport } = await answer.json();
    const now = { at: Date.now(), bytes: video?.bytes_sent ?? 0 };
    const kbps = `${Math.round((transport?.estimate_bps ?? 0) / 1e3)} kb/s ${transport?.estimate_state}${transport?.app_limited ? " (limited)" : ""}`;
    const queue = `queue ${transport?.queue_ms} ms, loss ${transport?.loss_percent} %`;
    const layer = `${video?.layer}${video?.temporal_layer == null ? "" : `/T${video.temporal_layer}`} (${video?.reason})`;
    const sent = `${Math.round(((now.bytes - before.bytes) * 8) / Math.max(1, now.at - before.at))} kb/s, ${video?.retransmitted} again, ${video?.switches} switches`;
    console.error(`${clock()} viewer ${n}: ${kbps}, ${queue}; ${layer}, ${sent}; wanted ${wanted.join(", ")}`);
    before = now;
    await pause(500);
  }
}

/** Waits until it has settled, then judges. */
async function settled({ impair, viewer, publisher, rate }) {
  await pause(SETTLES_MS);
  await impair.tell("reset");
  const seen = await watchFor(viewer, publisher, JUDGED_MS);
  return { ...(await linkUse(impair, seen.seconds, rate)), ...picture(seen) };
}

/** The link becomes narrow and wide again. */
async function cliff({ impair, viewer, publisher }) {
  await pause(SETTLES_MS / 2);
  await impair.tell("reset");
  await impair.tell("down rate=500k");
  const seen = await watchFor(viewer, publisher, CLIFF_MS);
  const use = await linkUse(impair, seen.seconds, 500e3);
  await impair.tell("down rate=3M");
  const from = await viewer.evaluate(() => performance.now());
  const top = async () => backOnTop(await viewer.evaluate(() => window.frames), from, TOP);
  await until("the picture is back", async () => (await top()) !== null, { within: RETURN_MS, every: 500 }).catch(() => {});
  return { ...use, ...picture(seen), topMs: await top(), topWithinMs: RETURN_MS };
}

/** The first seconds of a new viewer. */
async function fresh({ impair, viewer, publisher }) {
  const top = async () => backOnTop(await viewer.evaluate(() => window.frames ?? []), 0, TOP);
  await until("the picture is on top", async () => (await top()) !== null, { within: RETURN_MS, every: 500 }).catch(() => {});
  const seen = await watchFor(viewer, publisher, JUDGED_MS / 2);
  return { ...(await linkUse(impair, null, null)), ...picture(seen), topMs: await top(), topWithinMs: RETURN_MS };
}

/** Several behind one bottleneck. */
async function fair({ impair, viewers, publisher, rate }) {
  await pause(SETTLES_MS);
  await impair.tell("reset");
  const all = await Promise.all(viewers.map((viewer) => watchFor(viewer, publisher, JUDGED_MS)));
  const worst = all.reduce((worst, seen) => (seen.freezeShare > worst.freezeShare ? seen : worst));
  const use = await linkUse(impair, worst.seconds, rate);
  return { ...use, ...picture(worst), jain: jain(all.map(({ bytes }) => bytes)), kbps: all.map(({ bytes, seconds }) => Math.round((bytes * 8) / seconds / 1e3)) };
}

function picture({ height, sentHeight, longestFreezeMs, freezeShare, framesShare }) {
  return { height, sentHeight, longestFreezeMs, freezeShare, framesShare };
}

/** What the relay says of the way down: the share of its rate that came out, and how long packets stood. */
async function linkUse(impair, seconds, rate) {
  const { down } = (await impair.stats()).shared;
  const bits = (down.delivered.bytes + HEADER_BYTES * down.delivered.datagrams) * 8;
  return {
    kbps: seconds && Math.round(bits / seconds / 1e3),
    share: seconds && rate ? bits / seconds / rate : null,
    queueMs: down.queue_ms.p50,
    standingMs: down.standing_queue_ms,
    dropped: down.dropped_queue,
    lost: down.lost_random + down.lost_burst,
  };
}

/** Bits a second of a script's first rate; `null` if it names none. */
function rateOf(script) {
  const [, number, unit] = /rate=([\d.]+)([kM])/.exec(script) ?? [];
  return number ? Number(number) * { k: 1e3, M: 1e6 }[unit] : null;
}

function table(rows) {
  const percent = (share) => (share == null ? "–" : `${(share * 100).toFixed(1)} %`);
  const ms = (value) => (value == null ? "–" : `${Math.round(value)} ms`);
  const top = ({ topMs, topWithinMs }) => (topWithinMs === undefined ? "–" : topMs == null ? `not in ${topWithinMs / 1e3} s` : ms(topMs));
  const head = ["cell", "way down", "used", "longest freeze", "frozen", "frames", "height", "to the top", "queue", "lost, dropped", "Jain", "to reach"];
  const lines = rows.map((row) => [
    row.cell,
    row.network,
    percent(row.share),
    ms(row.longestFreezeMs),
    percent(row.freezeShare),
    percent(row.framesShare),
    `${row.height} of ${TOP}`,
    top(row),
    ms(row.queueMs),
    `${row.lost}, ${row.dropped}`,
    row.jain?.toFixed(3) ?? "–",
    row.reach,
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...lines].map((line) => line[column].length)));
  const line = (cells) => cells.map((text, column) => (column < 2 ? text.padEnd(widths[column]) : text.padStart(widths[column]))).join("  ").trimEnd();
  return [line(head), line(widths.map((width) => "─".repeat(width))), ...lines.map(line)].join("\n");
}
