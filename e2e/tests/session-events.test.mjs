/** What a viewer hears of its session: the server-sent events of WHEP. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, pictureMoves, stage } from "../lib/browser.mjs";
import { until } from "../lib/until.mjs";

const THREE_SIZES = { codec: "VP8", res: "720", fps: "15", simulcast: "1" };

/** Reads a stream of events, and stores them. */
class Heard {
  events = [];
  hasEnded = false;
  #abort = new AbortController();

  static async from(url) {
    const heard = new Heard();
    const response = await fetch(url, { signal: heard.#abort.signal });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    heard.#read(response.body.pipeThrough(new TextDecoderStream())).catch(() => {}).finally(() => (heard.hasEnded = true));
    return heard;
  }

  async #read(chunks) {
    let rest = "";
    for await (const chunk of chunks) {
      const events = (rest + chunk).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event) ?? [];
        if (name) this.events.push({ name, data: JSON.parse(data) });
      }
    }
  }

  /** Waits for an event that was not there at `from`; returns how many there were then. */
  async until(what, name, fits = () => true, from = 0) {
    let place = -1;
    const isThere = () => (place = this.events.findIndex((event, n) => n >= from && event.name === name && fits(event.data))) >= 0;
    await until(what, isThere, { describe: () => JSON.stringify(this.events.slice(-5)) });
    return place + 1;
  }

  stop() {
    this.#abort.abort();
  }
}

describe("events of a session", () => {
  const here = stage({ before, after });
  let publisher;
  let viewer;
  let links;

  before(async () => {
    publisher = await openPage(here.browser, here.server.publishPage("heard", THREE_SIZES));
    await onAir(publisher);
    viewer = await openPage(here.browser, null);
    const opened = viewer.waitForResponse((response) => response.status() === 201 && /\/whep\/heard$/.test(response.url()));
    await viewer.goto(here.server.watchPage("heard"), { waitUntil: "domcontentloaded" });
    const header = await (await opened).headerValue("link");
    links = Object.fromEntries([...header.matchAll(/<([^>]*)>; rel="([^"]*)"(?:; events="([^"]*)")?/g)].map(([, url, rel, events]) => [rel, { url, events }]));
    await pictureMoves(viewer);
    // With a viewer: without one, sizes that have not come within 4 s are not asked for any more.
    await until("three sizes come in", async () => (await here.server.stream("heard")).video?.layers.length === 3);
  });

  const post = (path, body) => here.server.fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

  test("a wish of another request arrives, and so does a pause of the publisher", async () => {
    const { url, events } = links["urn:ietf:params:whep:ext:core:server-sent-events"];
    const layers = links["urn:ietf:params:whep:ext:core:layer"].url;
    assert.equal(events, "active inactive layers viewercount failed");
    const subscribed = await post(url, events.split(" "));
    assert.equal(subscribed.status, 201);
    const subscription = new URL(subscribed.headers.get("location"), here.server.url);
    const heard = await Heard.from(subscription);

    await heard.until("it is told that somebody publishes", "active");
    await heard.until("it is told who watches", "viewercount", ({ viewercount }) => viewercount === 1);
    // The answer's first medium need not be the video; one of them is.
    const video = (data) => Object.values(data)[0];
    let from = await heard.until("the largest is shown", "layers", (data) => video(data).current?.encodingId === "f");
    const [line] = Object.keys(heard.events[from - 1].data);
    assert.match(line, /^[01]$/);
    // An encoder that begins may leave a size out for a moment: an event follows when it is back.
    const size = ({ rid, simulcastIdx, height }) => [rid, simulcastIdx, height];
    const sizes = ({ layers }) => JSON.stringify(layers.map(size));
    const all = JSON.stringify([["f", 2, 720], ["h", 1, 360], ["q", 0, 180]]);
    await heard.until("all sizes are named", "layers", (data) => sizes(video(data)) === all, from - 1);

    assert.equal((await post(layers, { mediaId: line, rid: "q" })).status, 200);
    from = await heard.until("the smallest is shown", "layers", (data) => video(data).current?.encodingId === "q" && video(data).reason === "wished", from);
    assert.equal((await post(layers, {})).status, 200);
    from = await heard.until("the largest is shown again", "layers", (data) => video(data).current?.encodingId === "f", from);

    await publisher.end();
    from = await heard.until("the pause", "inactive", undefined, from);
    publisher = await openPage(here.browser, here.server.publishPage("heard", THREE_SIZES));
    from = await heard.until("the end of the pause", "active", undefined, from);

    assert.equal((await fetch(subscription, { method: "DELETE" })).status, 200);
    await until("the stream of events ends", () => heard.hasEnded);
    assert.equal((await fetch(subscription)).status, 404);
    heard.stop();
  });

  test("the watch page hears of a choice that was made elsewhere", async () => {
    await pictureMoves(viewer);
    // The page shows values from an event or from a report; reports are rare while events arrive.
    const asked = [];
    viewer.on("request", (request) => request.method() === "GET" && /\/whep\/heard\/[0-9a-f]{32}$/.test(request.url()) && asked.push(request.url()));
    const layers = links["urn:ietf:params:whep:ext:core:layer"].url;
    const sent = async () => (await ask(viewer, "report"))?.video;
    assert.equal((await post(layers, { encodingId: "h" })).status, 200);
    await until("the page knows", async () => (await sent())?.layer === "h" && (await sent()).reason === "wished");
    assert.ok(viewer.posts.some((url) => /\/sse$/.test(url)), "it subscribed");
    assert.equal((await post(layers, {})).status, 200);
    await until("the page knows", async () => (await sent())?.layer === "f");
    console.log(`reports that the page asked for meanwhile: ${asked.length}`);
    assert.deepEqual(viewer.complaints, []);
  });

  test("they end with the session", async () => {
    const subscribed = await post(links["urn:ietf:params:whep:ext:core:server-sent-events"].url, ["layers"]);
    const heard = await Heard.from(new URL(subscribed.headers.get("location"), here.server.url));
    await heard.until("it is told how it is", "layers");
    await viewer.end();
    await until("the stream of events ends", () => heard.hasEnded);
  });
});
