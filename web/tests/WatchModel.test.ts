import assert from "node:assert/strict";
import { test } from "node:test";
import { waitingStream, type StreamStatus, type ViewerReport } from "../src/client/Api";
import { Problem } from "../src/client/Problem";
import { WatchModel } from "../src/watch/WatchModel";

const waiting = waitingStream("demo");
const live: StreamStatus = {
  ...waiting,
  state: "live",
  live_since_ms: 1_000,
  viewers: 3,
  publisher: {
    session: "first",
    connected_at_ms: 0,
    rtt_ms: null,
    loss_percent: null,
    wanted_layers: [],
  },
  video: {
    codec: "VP8",
    width: 1280,
    height: 720,
    frame_rate: 30,
    bitrate_bps: 1,
    key_frame_interval_ms: null,
    layers: [],
  },
};
const by = (session: string): StreamStatus => ({
  ...live,
  publisher: { ...live.publisher!, session },
});
const inCodec = (codec: string): StreamStatus => ({ ...live, video: { ...live.video!, codec } });

/** A page whose connection is up, before any status. */
function connected(): WatchModel {
  const model = new WatchModel();
  model.handleConnection("connecting", null);
  model.handleConnection("connected", null);
  return model;
}

/** A page that has shown a picture. */
function playing(): WatchModel {
  const model = connected();
  model.handleStatus(live, 100);
  model.handleFrame(200, 50);
  return model;
}

test("a page that has just been opened connects", () => {
  const view = new WatchModel().view(0, 0);
  assert.deepEqual(
    [view.state, view.title, view.about],
    ["connecting", "Connecting", "connecting"],
  );
  assert.deepEqual(
    [view.isLive, view.viewers, view.canTryAgain, view.hasPicture],
    [false, null, false, false],
  );
});

test("a stream that is not live yet is waited for", () => {
  const model = connected();
  assert.equal(model.handleStatus({ ...waiting, viewers: 2 }, 100), false);
  const view = model.view(0, 0);
  assert.deepEqual([view.state, view.viewers, view.about], ["waiting", 2, "not live yet"]);
  assert.match(view.title, /waiting/i);
});

test("a stream whose publisher could not connect says why it is waited for", () => {
  const detail = "a fatal alert";
  const publish_failure = { session: "0", reason: "alert", detail, failed_at_ms: 0 };
  const model = connected();
  model.handleStatus({ ...waiting, publish_failure }, 100);
  const view = model.view(0, 0);
  assert.deepEqual([view.state, view.canTryAgain], ["waiting", false]);
  assert.match(view.text, /could not connect\. When one can, it will begin/);
  assert.match(view.about, /^not live yet · .* failed: a fatal alert$/);
  model.handleStatus({ ...live, state: "paused", publish_failure }, 200);
  assert.match(model.view(0, 0).about, /^paused · .* failed: a fatal alert$/);
  model.handleStatus(waiting, 300);
  const { text, about } = model.view(0, 0);
  assert.deepEqual([text, about], ["It will begin here by itself.", "not live yet"]);
});

test("a picture on screen is live, without words over it", () => {
  const view = playing().view(61_000, 720);
  assert.deepEqual([view.state, view.title, view.text, view.isLive], ["live", "", "", true]);
  assert.deepEqual([view.viewers, view.hasPicture], [3, true]);
  assert.equal(view.about, "live for 1 min · 720p · VP8");
});

test("no viewers are no number", () => {
  const model = playing();
  model.handleStatus({ ...live, viewers: 0 }, 300);
  assert.equal(model.view(0, 720).viewers, null);
});

test("the first frame is timed from the navigation and from the offer", () => {
  const model = playing();
  model.handleFrame(900, 800);
  assert.deepEqual(model.firstFrame, { sinceNavigationMs: 200, sincePostMs: 150 });
});

test("a paused stream keeps its last picture behind the words", () => {
  const model = playing();
  model.handleStatus({ ...live, state: "paused" }, 10_000);
  const view = model.view(0, 720);
  assert.deepEqual([view.state, view.hasPicture, view.isLive], ["paused", true, false]);
  assert.match(view.title, /paused/i);
});

test("a lost connection says why, where a reason is known", () => {
  const model = playing();
  model.handleConnection("reconnecting", null);
  assert.deepEqual(
    [model.view(0, 720).title, model.view(0, 720).about],
    ["Connection lost", "reconnecting"],
  );
  model.handleConnection("reconnecting", Problem.unreachable());
  assert.equal(model.view(0, 720).title, "The server does not answer");
});

test("a refusal says why and offers another try", () => {
  const rows: [number, string, RegExp][] = [
    [401, "unauthorised", /token/],
    [403, "unauthorised", /token/],
    [406, "unsupported", /cannot play/],
    [400, "refused", /^no$/],
  ];
  for (const [status, state, title] of rows) {
    const model = new WatchModel();
    model.handleConnection("refused", new Problem({ status, title: "no" }));
    const view = model.view(0, 0);
    assert.deepEqual([view.state, view.canTryAgain], [state, true], String(status));
    assert.match(view.title, title);
  }
});

test("a stream that was ended is tried again for another publisher only", () => {
  const model = playing();
  model.handleConnection("ended", null);
  assert.equal(model.view(0, 720).canTryAgain, true);
  assert.equal(model.handleStatus(live, 300), false);
  assert.equal(model.handleStatus(waiting, 400), false);
  assert.equal(model.handleStatus(by("second"), 500), true);
});

test("a refused codec is tried again for another codec only", () => {
  for (const codec of ["H265", null]) {
    const model = new WatchModel();
    model.handleConnection("refused", new Problem({ status: 406, title: "no", codec }));
    assert.equal(model.handleStatus(inCodec("H265"), 100), false);
    assert.equal(model.handleStatus(inCodec("H265"), 200), false);
    assert.equal(model.handleStatus(inCodec("VP8"), 300), true);
  }
});

test("other refusals are not tried again by themselves", () => {
  const model = new WatchModel();
  model.handleConnection("refused", new Problem({ status: 401, title: "no" }));
  assert.equal(model.handleStatus(live, 100), false);
  assert.equal(model.handleStatus(by("second"), 200), false);
});

test("a codec that this browser lacks takes the old picture away", () => {
  const model = playing();
  model.handleStatus(inCodec("H265"), 5_000);
  model.handleReport({ video: { reason: "codec" } } as ViewerReport);
  const view = model.view(0, 720);
  assert.deepEqual([view.state, view.hasPicture], ["unsupported", false]);
  assert.match(view.title, /H\.265/);
});

test("a stream without a picture plays as sound", () => {
  const model = connected();
  model.handleStatus({ ...live, video: null }, 100);
  const view = model.view(61_000, 0);
  assert.deepEqual([view.state, view.isSoundOnly, view.title], ["live", true, "Sound only"]);
  assert.equal(view.about, "live for 1 min");
});

test("a warning of the server, and a narrow network, stand below the name", () => {
  const model = playing();
  model.handleStatus({ ...live, warnings: [{ code: "new", detail: "Do so." }] }, 300);
  model.handleReport({
    video: { reason: "network" },
    transport: { estimate_bps: 300_000 },
  } as ViewerReport);
  assert.equal(
    model.view(61_000, 360).about,
    "Do so. · live for 1 min · 360p, adapting: your network carries 300 kb/s · VP8",
  );
});
