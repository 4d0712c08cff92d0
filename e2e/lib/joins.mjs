/** Joining a running stream again and again: how soon is there a picture, and how soon is it the present? */

import { ask, openPage } from "./browser.mjs";
import { figure, median } from "./figures.mjs";
import { pause, until } from "./until.mjs";

/** Close enough to the delay that the picture settles at. */
const SETTLED_MS = 100;
/** The recorded time of each join. Longer than any acceptable time to catch up. */
const RECORDED_MS = 1_500;
/** "At the live edge". */
const LIVE_MS = 1_000;

/** Joins `gaps.length` times, each after a pause of `gaps[i]` milliseconds. Returns what happened each time. */
export async function joinRepeatedly(browser, server, stream, gaps) {
  const page = await openPage(browser, null, { record: true });
  const joins = [];
  for (const gap of gaps) {
    await page.goto("about:blank");
    await pause(gap);
    await page.goto(server.watchPage(stream), { waitUntil: "domcontentloaded" });
    await until("a first picture", async () => (await ask(page, "postToFirstFrameMs")) !== null, { every: 100 });
    const live = await until(
      "the picture is of the present",
      async () => {
        const frames = await page.evaluate(() => window.shownFrames);
        const last = frames.filter(({ clock }) => clock !== null).at(-1);
        return last && last.shownAt - last.clock < LIVE_MS ? frames : null;
      },
      { within: 30_000, every: 100 },
    );
    const [first] = live;
    await until("frames enough", () => page.evaluate((since) => (window.shownFrames.at(-1)?.shownAt ?? 0) > since, first.shownAt + RECORDED_MS), { every: 100 });
    joins.push({
      postToFirstFrameMs: await ask(page, "postToFirstFrameMs"),
      ...catchingUp(await page.evaluate(() => window.shownFrames)),
    });
  }
  const { complaints } = page;
  await page.end();
  return { joins, complaints };
}

/**
 * How a start looked, from its shown frames.
 *
 * `edgeMs`: from the first picture until the picture is as young as it will be.
 * `fastForwardMs`: the part of it in which old pictures move; a still that waits for the present does not count.
 */
export function catchingUp(frames) {
  const read = frames.filter(({ clock }) => clock !== null);
  const steady = median(read.slice(-20).map(({ shownAt, clock }) => shownAt - clock));
  const edge = read.findIndex(({ shownAt, clock }) => shownAt - clock <= steady + SETTLED_MS);
  return {
    steadyMs: steady,
    firstAgeMs: read[0].shownAt - read[0].clock,
    edgeMs: read[edge].shownAt - read[0].shownAt,
    fastForwardMs: edge < 2 ? 0 : read[edge].shownAt - read[1].shownAt,
    framesBehind: edge,
  };
}

/** Notes the figures of some joins. */
export function joinFigures(who, joins) {
  const of = (key) => joins.map((join) => join[key]);
  return [
    figure(`WHEP POST to first frame, ${who}`, of("postToFirstFrameMs"), { target: "median ≤ 250 ms" }),
    figure("  age of the first picture", of("firstAgeMs")),
    figure("  first picture to live edge", of("edgeMs")),
    figure("  visible fast-forward", of("fastForwardMs"), { target: "≤ 500 ms" }),
    figure("  delay after the join", of("steadyMs")),
  ];
}
