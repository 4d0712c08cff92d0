/** Chromium, and the two pages as a test sees them. */

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import { Server } from "./server.mjs";
import { until } from "./until.mjs";

export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // Browsers leave loopback out of their candidates; the server under test is nowhere else.
  "--allow-loopback-in-peer-connection",
  // The publish page makes its own sound, and no hand touches the pages.
  "--autoplay-policy=no-user-gesture-required",
];

export async function launchBrowser() {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is missing: apt-get install chromium`);
  return await chromium.launch({ executablePath: CHROMIUM, args: FLAGS, timeout: 60_000 });
}

/**
 * Opens a page of its own window, where it is never in the background.
 *
 * `page.complaints` collects what a browser complains about: console errors, exceptions, breaches of the
 * content security policy. `page.posts` collects the addresses that got a POST.
 */
export async function openPage(browser, url, { record = false, context: shared, ...options } = {}) {
  const context = shared ?? (await browser.newContext({ viewport: { width: 1280, height: 720 }, ...options }));
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.complaints = [];
  page.posts = [];
  page.on("console", (message) => {
    if (message.type() === "error") page.complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => page.complaints.push(`exception: ${error.message}`));
  page.on("request", (request) => request.method() === "POST" && page.posts.push(request.url()));
  page.end = () => (shared ? page.close() : context.close());
  if (record) await page.addInitScript(recordFrames);
  if (url) await page.goto(url, { waitUntil: "domcontentloaded" });
  return page;
}

/**
 * Runs in a watch page: notes every shown frame in `window.shownFrames`:
 * when it was on screen and what its clock strip said, epoch milliseconds.
 */
function recordFrames() {
  window.shownFrames = [];
  const attach = () => {
    const video = document.getElementById("video");
    if (!video) return; // another page, such as about:blank
    const onframe = (_now, { expectedDisplayTime, rtpTimestamp }) => {
      video.requestVideoFrameCallback(onframe);
      const reading = window.nowcast?.readClock() ?? null;
      const shownAt = performance.timeOrigin + Math.max(expectedDisplayTime, performance.now());
      window.shownFrames.push({ shownAt, clock: reading?.clockMs ?? null, rtp: rtpTimestamp ?? null });
    };
    video.requestVideoFrameCallback(onframe);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", attach);
  else attach();
}

/**
 * Opens what every test file of pages needs: a server, a browser, and the end of both.
 * Call in a `describe`; read the properties inside of tests.
 */
export function stage({ before, after }, serverOptions = {}) {
  const stage = { server: null, browser: null };
  before(async () => {
    stage.server = await Server.start(serverOptions);
    stage.browser = await launchBrowser();
  });
  after(async () => {
    await stage.browser?.close();
    await stage.server?.stop();
  });
  return stage;
}

/** What `window.nowcast` of a page says, by name. */
export const ask = (page, name) => page.evaluate((key) => window.nowcast?.[key] ?? null, name);

/** Waits until the publish page is on the air. */
export async function onAir(page) {
  await until("the publish page is connected", async () => (await ask(page, "state")) === "connected", {
    within: 60_000,
    describe: () => describe(page),
  });
}

/** Waits until a watch page is in one of these states. */
export async function watchState(page, state, within = 60_000) {
  await until(`the watch page says “${state}”`, async () => (await ask(page, "state")) === state, {
    within,
    describe: () => describe(page),
  });
}

/** Waits until the picture of a watch page moves: several readings of its clock strip, each later than the last. */
export async function pictureMoves(page, { readings = 5, within = 60_000, after = 0 } = {}) {
  const seen = [];
  await until(
    "the clock in the picture advances",
    async () => {
      const clock = await page.evaluate(() => window.nowcast?.readClock()?.clockMs ?? null);
      if (clock !== null && clock > Math.max(after, seen.at(-1) ?? 0)) seen.push(clock);
      return seen.length >= readings;
    },
    { within, describe: async () => `${seen.length} readings; ${await describe(page)}` },
  );
  return seen;
}

/** What a person would see, and what the developer tools would say, for error messages. */
export async function describe(page) {
  const seen = await page.evaluate(() => ({
    url: location.pathname + location.search,
    state: window.nowcast?.state,
    problem: window.nowcast?.problem?.message,
    words: document.querySelector("#title, #state-text")?.textContent,
    text: document.querySelector("#text, #problem-text")?.textContent,
    stats: window.nowcast?.stats,
    status: window.nowcast?.status,
  }));
  return JSON.stringify({ ...seen, complaints: page.complaints });
}

/** How often a page has asked for a new WHEP session. */
export const sessions = (page) => page.posts.filter((url) => /^\/whep\/(?!.*\/(sse|layers)$)/.test(new URL(url).pathname)).length;
