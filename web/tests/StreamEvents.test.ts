import assert from "node:assert/strict";
import { test } from "node:test";
import { Access } from "../src/client/Access";
import { waitingStream, type StreamStatus } from "../src/client/Api";
import type { Problem } from "../src/client/Problem";
import { StreamEvents } from "../src/client/StreamEvents";
import { eventStream, freeLocks, json, refused, unreachable } from "./support/answers";
import { FakeBrowser, settled, type Server } from "./support/FakeBrowser";

const live: StreamStatus = { ...waitingStream("demo"), state: "live" };
const event = (status: StreamStatus): string =>
  `event: status\ndata: ${JSON.stringify(status)}\n\n`;
const EVENTS = "GET /api/v1/streams/demo/events";
const STATUS = "GET /api/v1/streams/demo";

function follow(server: Server, locks: FakeBrowser["locks"] = freeLocks) {
  const browser = new FakeBrowser();
  browser.locks = locks;
  browser.server = server;
  const events = new StreamEvents("demo", new Access(null), browser);
  const states: string[] = [];
  const problems: (Problem | null)[] = [];
  events.onstatus = ({ state }) => states.push(state);
  events.onproblem = (problem) => problems.push(problem);
  events.start();
  return { browser, events, states, problems };
}

test("each status event is reported", async () => {
  const streams: ReturnType<typeof eventStream>[] = [];
  const { browser, states } = follow((request) => {
    const stream = eventStream(request);
    streams.push(stream);
    return stream.response;
  });
  await settled();
  streams[0]?.write(event(waitingStream("demo")) + ": comment\n\n");
  await browser.passes(6_000);
  streams[0]?.write(event(live));
  await browser.passes(6_000);
  assert.deepEqual(states, ["waiting", "live"]);
  assert.deepEqual(browser.sent(), [EVENTS]);
});

test("an event stream that is silent for 7 s is opened again", async () => {
  const { browser, problems } = follow((request) => eventStream(request).response);
  await browser.passes(6_999);
  assert.deepEqual(browser.sent(), [EVENTS]);
  await browser.passes(1 + 150);
  assert.deepEqual(browser.sent(), [EVENTS, EVENTS]);
  assert.equal(problems[0]?.title, "The server does not answer");
  assert.equal(browser.requests[0]?.signal?.aborted, true);
});

test("an event stream that the server ends is opened again after the back-off", async () => {
  const { browser } = follow((request) => {
    const stream = eventStream(request);
    stream.write(event(live));
    stream.end();
    return stream.response;
  });
  await browser.passes(149);
  assert.equal(browser.requests.length, 1);
  await browser.passes(1);
  assert.equal(browser.requests.length, 2);
});

test("a browser without locks, and a tab without a place, poll every 2 s", async () => {
  const taken = {
    request: async (_name: string, _options: unknown, work: (lock: null) => unknown) =>
      await work(null),
  };
  for (const locks of [null, taken as unknown as FakeBrowser["locks"]]) {
    const { browser, states } = follow(() => json(live), locks);
    await browser.passes(4_500);
    assert.deepEqual(browser.sent(), [STATUS, STATUS, STATUS]);
    assert.deepEqual(states, ["live", "live", "live"]);
  }
});

test("a stream that does not exist is waiting", async () => {
  const { browser, states } = follow(() => refused(404), null);
  await browser.passes(0);
  assert.deepEqual(states, ["waiting"]);
});

test("a server with too many event streams is polled until its Retry-After is over", async () => {
  const { browser, states, problems } = follow(({ path }) =>
    path.endsWith("/events") ? refused(503, { retryAfter: "10" }) : json(live),
  );
  await browser.passes(9_000);
  assert.deepEqual(browser.sent(), [EVENTS, STATUS, STATUS, STATUS, STATUS, STATUS]);
  assert.equal(states.length, 5);
  assert.ok(problems.every((problem) => problem === null));
  await browser.passes(2_000);
  assert.equal(browser.sent().filter((each) => each === EVENTS).length, 2);
});

test("a server out of reach is asked ever more slowly, and reported once it is back", async () => {
  let isDown = true;
  const { browser, states, problems } = follow(() => (isDown ? unreachable() : json(live)), null);
  await browser.passes(5_000);
  assert.deepEqual(
    browser.requests.map(({ at }) => at),
    [0, 150, 450, 1_050, 2_250, 4_650],
  );
  isDown = false;
  await browser.passes(8_000);
  assert.equal(states[0], "live");
  assert.equal(problems.at(-1), null);
});

test("a wait that the server asks for is kept", async () => {
  const { browser } = follow(() => refused(429, { retryAfter: "20" }), null);
  await browser.passes(20_149);
  assert.equal(browser.requests.length, 1);
  await browser.passes(1);
  assert.equal(browser.requests.length, 2);
});

test("nothing is asked after stop(), nor while the page is away", async () => {
  const { browser, events } = follow(() => json(live), null);
  await browser.passes(100);
  await browser.fire("pagehide");
  await browser.passes(60_000);
  assert.equal(browser.requests.length, 1);
  await browser.fire("pageshow", { persisted: true });
  assert.equal(browser.requests.length, 2);
  events.stop();
  await browser.passes(60_000);
  await browser.fire("pageshow", { persisted: true });
  assert.equal(browser.requests.length, 2);
  assert.equal(browser.listeners, 0);
});

test("a status that arrives after stop() is not reported", async () => {
  let answer: (response: Response) => void = () => {};
  const { events, states } = follow(() => new Promise((resolve) => (answer = resolve)), null);
  await settled();
  events.stop();
  answer(json(live));
  await settled();
  assert.deepEqual(states, []);
});
