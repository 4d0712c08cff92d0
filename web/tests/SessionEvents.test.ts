import assert from "node:assert/strict";
import { test } from "node:test";
import { Access } from "../src/client/Access";
import type { Problem } from "../src/client/Problem";
import { PublisherEvents } from "../src/client/PublisherEvents";
import { SessionEvents } from "../src/client/SessionEvents";
import { SessionResource } from "../src/client/SessionResource";
import { ViewerEvents } from "../src/client/ViewerEvents";
import { created, eventStream, freeLocks, refused } from "./support/answers";
import { FakeBrowser, settled, type Request } from "./support/FakeBrowser";

const LINK = '</whep/demo/1/sse>; rel="urn:ietf:params:whep:ext:core:server-sent-events"';
const HEARING = { events: ["layers"], place: "nowcast-session", places: 1 };

/** A connected session whose subscriptions are read as `read` says. */
async function connected(read: (request: Request) => Response, link = LINK) {
  const browser = new FakeBrowser();
  browser.locks = freeLocks;
  browser.server = (request) => {
    if (request.path === "/whep/demo") return created(1, { link });
    if (request.method === "POST")
      return new Response(null, { status: 201, headers: { Location: "/whep/demo/1/sse/1" } });
    return read(request);
  };
  const session = await SessionResource.open("/whep/demo", "v=0", new Access(null), browser);
  browser.requests.splice(0);
  const client = { state: "connected" as const, session: session as SessionResource | null };
  return { browser, client };
}

/** Follows such a session. */
async function follow(read: (request: Request) => Response, link = LINK) {
  const { browser, client } = await connected(read, link);
  const events = new SessionEvents(client, HEARING, browser);
  const heard: string[] = [];
  let lost = 0;
  events.onevent = ({ data }) => heard.push(data);
  events.onlost = () => (lost += 1);
  events.follow();
  await settled();
  return { browser, client, events, heard, lost: () => lost };
}

test("events of the session are reported, and the page knows that they are", async () => {
  const streams: ReturnType<typeof eventStream>[] = [];
  const { browser, events, heard } = await follow((request) => {
    streams.push(eventStream(request));
    return streams.at(-1)!.response;
  });
  assert.deepEqual(browser.sent(), ["POST /whep/demo/1/sse", "GET /whep/demo/1/sse/1"]);
  assert.equal(browser.requests[0]?.body, '["layers"]');
  assert.equal(events.isListening, false);
  streams[0]?.write("event: layers\ndata: 1\n\n");
  await settled();
  assert.deepEqual(heard, ["1"]);
  assert.equal(events.isListening, true);
  await browser.passes(11_000);
  streams[0]?.write(": alive\n\n");
  await browser.passes(11_000);
  assert.equal(events.isListening, true);
  assert.equal(browser.requests.length, 2);
});

test("events that are silent for 12 s are lost, and subscribed to again", async () => {
  const { browser, events, lost } = await follow((request) => {
    const stream = eventStream(request);
    stream.write(": alive\n\n");
    return stream.response;
  });
  await browser.passes(12_000);
  assert.equal(events.isListening, false);
  assert.equal(lost(), 1);
  await browser.passes(1_000);
  assert.equal(browser.sent("POST").length, 2);
  assert.equal(events.isListening, true);
});

test("events that the server refuses are asked for after 1, 2, 4 s, then every 7.5 s", async () => {
  const { browser, lost } = await follow(() => refused(503));
  await browser.passes(30_000);
  assert.deepEqual(
    browser.requests.filter(({ method }) => method === "POST").map(({ at }) => at),
    [0, 1_000, 3_000, 7_000, 14_500, 22_000, 29_500],
  );
  assert.equal(lost(), 7);
});

test("events of a session that is gone are not read any more", async () => {
  const { browser, client, events, heard, lost } = await follow(
    (request) => eventStream(request).response,
  );
  client.session = null;
  events.follow();
  await browser.passes(60_000);
  assert.equal(browser.requests.length, 2);
  assert.equal(browser.requests[1]?.signal?.aborted, true);
  assert.deepEqual([heard, lost(), events.isListening], [[], 0, false]);
});

test("a server without events is not asked for them", async () => {
  const { browser, events } = await follow(() => refused(404), "");
  await browser.passes(60_000);
  assert.deepEqual(browser.sent(), []);
  assert.equal(events.isListening, false);
});

test("a tab without a place looks for one every 15 s", async () => {
  let taken = true;
  const { browser, client, events } = await follow((request) => eventStream(request).response);
  browser.locks = {
    request: async (_name: string, _options: unknown, work: (lock: object | null) => unknown) =>
      await work(taken ? null : {}),
  } as unknown as FakeBrowser["locks"];
  const session = client.session;
  client.session = null;
  events.follow();
  client.session = session;
  events.follow();
  await browser.passes(14_999);
  assert.equal(browser.sent("POST").length, 1);
  taken = false;
  await browser.passes(1);
  assert.equal(browser.sent("POST").length, 2);
});

test("the page's way into the back/forward cache ends the request", async () => {
  const { browser, lost } = await follow((request) => eventStream(request).response);
  await browser.fire("pagehide");
  assert.equal(browser.requests[1]?.signal?.aborted, true);
  await browser.passes(60_000);
  assert.deepEqual([browser.requests.length, lost()], [2, 0]);
});

/** The server's answer to a subscription that has these events. */
const writes =
  (...events: [name: string, data: string][]) =>
  (request: Request): Response => {
    const stream = eventStream(request);
    for (const [name, data] of events) stream.write(`event: ${name}\ndata: ${data}\n\n`);
    return stream.response;
  };
const FAILED = '{"reason":"finished","detail":"it does not fit"}';
const words = ({ status, handshake, detail }: Problem): string =>
  `${status} ${handshake}: ${detail}`;

test("a viewer's events are media, layers, and the failure of its session", async () => {
  const layers = '{"1":{"active":[],"reason":"best"}}';
  const { browser, client } = await connected(
    writes(["active", "{}"], ["layers", layers], ["failed", FAILED]),
  );
  const events = new ViewerEvents(client, browser);
  const heard: unknown[] = [];
  events.onactive = () => heard.push("active");
  events.onlayers = ({ reason }) => heard.push(reason);
  events.onfailed = (problem) => heard.push(words(problem));
  events.follow();
  await settled();
  assert.equal(browser.requests[0]?.body, '["active","layers","failed"]');
  assert.deepEqual(heard, ["active", "best", "404 finished: it does not fit"]);
});

test("a publisher's events are its audience, and the failure of its session", async () => {
  const { browser, client } = await connected(
    writes(
      ["wantedlayers", '{"wanted_layers":[]}'],
      ["viewercount", '{"viewercount":3}'],
      ["failed", FAILED],
    ),
  );
  const events = new PublisherEvents(client, browser);
  const heard: unknown[] = [];
  events.onwanted = (layers) => heard.push(layers);
  events.onviewers = (count) => heard.push(count);
  events.onfailed = (problem) => heard.push(words(problem));
  events.follow();
  await settled();
  assert.equal(browser.requests[0]?.body, '["wantedlayers","viewercount","failed"]');
  assert.deepEqual(heard, [[], 3, "404 finished: it does not fit"]);
});
