import assert from "node:assert/strict";
import { test } from "node:test";
import { waitingStream, type StreamStatus } from "../src/client/Api";
import { Problem } from "../src/client/Problem";
import { hintFor, HomeModel, nameFrom } from "../src/home/HomeModel";

const live = (stream: string, more: Partial<StreamStatus> = {}): StreamStatus => ({
  ...waitingStream(stream),
  state: "live",
  ...more,
});

/** A page that lists `count` live streams, all in sight. */
function listing(count: number): HomeModel {
  const model = new HomeModel();
  const names = Array.from({ length: count }, (_, index) => `s${index}`);
  model.handleStreams(names.map((name) => live(name)));
  names.forEach((name) => model.handleSight(name, true));
  return model;
}

const playing = (model: HomeModel): string[] =>
  model
    .view(0)
    .cards.filter(({ plays }) => plays)
    .map(({ stream }) => stream);

test("before the first answer the page says nothing about live streams", () => {
  assert.deepEqual(new HomeModel().view(0), {
    cards: [],
    count: null,
    isEmpty: false,
    notice: null,
  });
});

test("streams that are live are listed, others are not", () => {
  const model = new HomeModel();
  model.handleStreams([
    live("a"),
    waitingStream("b"),
    { ...live("c"), state: "paused" },
    live("d"),
  ]);
  const view = model.view(0);
  assert.deepEqual(
    view.cards.map(({ stream }) => stream),
    ["a", "d"],
  );
  assert.deepEqual([view.count, view.isEmpty, view.notice], [2, false, null]);
});

test("a list without live streams is empty", () => {
  const model = new HomeModel();
  model.handleStreams([waitingStream("b")]);
  assert.deepEqual(model.view(0), { cards: [], count: null, isEmpty: true, notice: null });
});

test("a card says size, frame rate, codec and time on the air", () => {
  const video = { codec: "H264", height: 720, frame_rate: 29.97, bitrate_bps: 1, layers: [] };
  const audio = { codec: "OPUS", bitrate_bps: 1 };
  const rows: [Partial<StreamStatus>, string][] = [
    [{ video, audio, live_since_ms: 1_000 }, "720p30 · H.264 · 1 min"],
    [{ video: { ...video, height: null } }, "H.264"],
    [{ video: { ...video, frame_rate: 0 } }, "720p · H.264"],
    [{ audio }, "sound only · Opus"],
    [{}, ""],
  ];
  for (const [more, facts] of rows) {
    const model = new HomeModel();
    model.handleStreams([live("a", { viewers: 1, ...more })]);
    const [card] = model.view(61_000).cards;
    assert.equal(card?.facts, facts);
    assert.equal(card?.label, "Watch a, live, 1 viewer");
  }
});

test("four previews play, first come first served, and only those in sight", () => {
  const model = listing(6);
  assert.deepEqual(playing(model), ["s0", "s1", "s2", "s3"]);
  model.handleSight("s1", false);
  assert.deepEqual(playing(model), ["s0", "s2", "s3", "s4"]);
});

test("a hidden page plays no preview", () => {
  const model = listing(2);
  model.handleHidden(true);
  assert.deepEqual(playing(model), []);
  model.handleHidden(false);
  assert.deepEqual(playing(model), ["s0", "s1"]);
});

test("a stream that ended and began again plays only once its new card is in sight", () => {
  const model = listing(1);
  model.handleStreams([]);
  model.handleStreams([live("s0")]);
  assert.deepEqual(playing(model), []);
});

test("a failure says why, and keeps the cards; the next answer takes the notice away", () => {
  const rows: [Problem, RegExp][] = [
    [new Problem({ status: 401, title: "no" }), /#token=/],
    [new Problem({ status: 403, title: "no" }), /#token=/],
    [Problem.unreachable(), /does not answer/],
    [new Problem({ status: 503, title: "Busy", fix: "Wait." }), /^Busy\. Wait\.$/],
  ];
  for (const [problem, words] of rows) {
    const model = listing(1);
    model.handleProblem(problem);
    assert.match(model.view(0).notice ?? "", words);
    assert.equal(model.view(0).count, 1);
    model.handleStreams([]);
    assert.deepEqual([model.view(0).notice, model.view(0).isEmpty], [null, true]);
  }
  const nothing = new HomeModel();
  nothing.handleProblem(Problem.unreachable());
  assert.equal(nothing.view(0).isEmpty, false);
});

test("a name is checked while it is written", () => {
  assert.deepEqual(hintFor("watch", ""), {
    text: "It starts by itself if it is not live yet.",
    isWrong: false,
  });
  assert.equal(hintFor("publish", "live/cam-1 ").isWrong, false);
  assert.equal(hintFor("publish", "a b").isWrong, true);
  assert.match(hintFor("publish", "a.b").text, /is not allowed/);
});

test("a door leads to a legal name; an empty field takes the suggestion", () => {
  assert.equal(nameFrom("", "calm-fox"), "calm-fox");
  assert.equal(nameFrom("  ", "calm-fox"), "calm-fox");
  assert.equal(nameFrom(" mine ", "calm-fox"), "mine");
  assert.equal(nameFrom("", null), null);
  assert.equal(nameFrom("a b", "calm-fox"), null);
});
