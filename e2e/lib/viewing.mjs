/** What has a viewer seen in a stretch of time? From the browser's statistics and the moments at which frames were shown. */

import { until } from "./until.mjs";

/** A frame that comes this much later than 30 a second freezes the picture: 150 ms more than one frame (webrtc-stats, freezeCount). */
export const FREEZE_MS = 33 + 150;
/** Back on top means: this share of the frames … */
const SMOOTH_SHARE = 0.8;
/** … for this long. */
const SMOOTH_MS = 2_000;

/** Lets the page that is opened next note every frame in `window.frames`: when it was shown and how high it was. */
export async function noteFrames(page) {
  await page.addInitScript(() => {
    window.frames = [];
    document.addEventListener("DOMContentLoaded", () => {
      const video = document.getElementById("video");
      const onframe = (now, { height }) => {
        video.requestVideoFrameCallback(onframe);
        window.frames.push({ at: now, height });
      };
      video?.requestVideoFrameCallback(onframe);
    });
  });
}

/** What the page's last connection says of its video, sending or receiving: the largest of its encodings. */
export async function videoStats(page) {
  return await page.evaluate(async () => {
    const reports = [...((await window.peers?.at(-1)?.getStats()) ?? new Map()).values()];
    const video = reports.filter(({ type, kind }) => kind === "video" && (type === "inbound-rtp" || type === "outbound-rtp"));
    const most = (key) => Math.max(0, ...video.map((report) => report[key] ?? 0));
    const keys = ["framesSent", "framesDecoded", "frameHeight", "framesPerSecond", "bytesReceived", "freezeCount", "totalFreezesDuration", "packetsLost"];
    return { at: performance.now(), ...Object.fromEntries(keys.map((key) => [key, most(key)])) };
  });
}

/** Watches for `ms` milliseconds what comes to `viewer` of what `publisher` sends. */
export async function watchFor(viewer, publisher, ms) {
  const [before, sentBefore] = [await videoStats(viewer), await videoStats(publisher)];
  const end = Date.now() + ms;
  await until("the time has passed", () => Date.now() >= end, { within: ms + 60_000 });
  const [after, sentAfter] = [await videoStats(viewer), await videoStats(publisher)];
  const frames = await viewer.evaluate(() => window.frames);
  const gaps = gapsBetween(frames, before.at, after.at);
  const frozen = gaps.filter((gap) => gap > FREEZE_MS);
  return {
    seconds: (after.at - before.at) / 1e3,
    bytes: after.bytesReceived - before.bytesReceived,
    height: after.frameHeight,
    sentHeight: sentAfter.frameHeight,
    longestFreezeMs: Math.max(0, ...frozen),
    freezeShare: frozen.reduce((sum, gap) => sum + gap, 0) / (after.at - before.at),
    freezeCount: after.freezeCount - before.freezeCount,
    framesShare: (after.framesDecoded - before.framesDecoded) / Math.max(1, sentAfter.framesSent - sentBefore.framesSent),
    framesPerSecond: after.framesPerSecond,
  };
}

/** Milliseconds between frames that are shown from `from` to `to`, the edges included: a freeze may not have ended. */
export function gapsBetween(frames, from, to) {
  const moments = [from, ...frames.map(({ at }) => at).filter((at) => at > from && at < to), to];
  return moments.slice(1).map((at, index) => at - moments[index]);
}

/** How long after `from` the picture is as high as `height` and smooth, milliseconds; `null` if it is not yet. */
export function backOnTop(frames, from, height, framesPerSecond = 30) {
  const later = frames.filter(({ at }) => at >= from);
  const wanted = (framesPerSecond * SMOOTH_MS * SMOOTH_SHARE) / 1e3;
  const start = later.findIndex(({ at }, index) => {
    const next = later.slice(index).filter((frame) => frame.at < at + SMOOTH_MS);
    return next.length >= wanted && next.every((frame) => frame.height >= height);
  });
  return start < 0 ? null : later[start].at - from;
}

/** Jain's fairness index: 1 if all have the same, 1/n if one has everything. */
export function jain(values) {
  const [sum, squares] = values.reduce(([sum, squares], value) => [sum + value, squares + value * value], [0, 0]);
  return squares === 0 ? 0 : (sum * sum) / (values.length * squares);
}
