import assert from "node:assert/strict";
import { test } from "node:test";
import { waitingStream, type StreamStatus } from "../src/client/Api";
import type { ConnectionState } from "../src/client/LiveConnection";
import { Problem } from "../src/client/Problem";
import type { StatsSample } from "../src/client/Stats";
import { PublishModel } from "../src/publish/PublishModel";
import { settingsFromQuery, type SourceKind } from "../src/publish/settings";

const SAMPLE = {
  bitrate: 2_400_000,
  frameRate: 30,
  width: 1280,
  height: 720,
  codec: "VP8",
  rttMs: 12,
  lossPercent: 0,
  limitation: "none",
} as StatsSample;

function setUp(query = "", canSendSizes = true): PublishModel {
  return new PublishModel(
    "demo",
    settingsFromQuery(new URLSearchParams(query)),
    () => canSendSizes,
  );
}

/** A model with an open source. */
function opened(kind: SourceKind = "camera", connection: ConnectionState = "idle"): PublishModel {
  const model = setUp(`source=${kind}`);
  assert.equal(model.handleOpened(model.beginOpening(), kind), true);
  model.handleConnection(connection, null);
  return model;
}

test("a page that has just been opened offers the camera", () => {
  const view = setUp().view();
  assert.deepEqual(
    [view.source, view.stateText, view.go.text, view.go.isDisabled],
    ["camera", "Not live", "Go live", false],
  );
  assert.deepEqual(view.empty, {
    text: "Your camera is off.",
    button: "Turn the camera on",
    isDisabled: false,
  });
  assert.deepEqual(
    [view.facts, view.trouble, view.aside, view.title],
    [null, null, null, "demo · Nowcast"],
  );
});

test("while a source is opened, the buttons wait", () => {
  const model = setUp();
  model.beginOpening();
  const view = model.view();
  assert.deepEqual(
    [view.stateText, view.go.isDisabled, view.empty?.isDisabled],
    ["Opening…", true, true],
  );
});

test("an open source is ready, and a camera is shown as in a mirror", () => {
  for (const kind of ["camera", "screen", "test"] as const) {
    const view = opened(kind).view();
    assert.deepEqual(
      [view.stateText, view.empty, view.isMirrored],
      ["Ready", null, kind === "camera"],
    );
    assert.deepEqual(
      [view.hasCameraMenu, view.hasMicrophoneMenu],
      [kind === "camera", kind === "camera"],
    );
  }
});

test("of two openings the later one counts", () => {
  const model = setUp();
  const first = model.beginOpening();
  const second = model.beginOpening();
  assert.equal(model.handleOpened(first, "camera"), false);
  assert.equal(model.handleOpenFailed(first, new Error("late")), false);
  assert.equal(model.view().trouble, null);
  assert.equal(model.handleOpened(second, "test"), true);
});

test("a source that is opened after it was closed is not wanted", () => {
  const model = setUp();
  const opening = model.beginOpening();
  model.handleClosed();
  assert.equal(model.handleOpened(opening, "camera"), false);
  assert.equal(model.view().empty?.isDisabled, false);
});

test("a camera on the air stays there if no screen is chosen", () => {
  const model = opened("camera", "connected");
  assert.equal(model.chooseSource("screen", false), "open");
  assert.equal(
    model.handleOpenFailed(model.beginOpening(), new DOMException("", "NotAllowedError")),
    false,
  );
  const view = model.view();
  assert.deepEqual(
    [view.source, view.trouble?.title, view.isLive],
    ["camera", "No screen was chosen", true],
  );
});

test("a source that fails to open again is closed, and so is one that is not on the air", () => {
  const same = opened("camera", "connected");
  assert.equal(
    same.handleOpenFailed(same.beginOpening(), new DOMException("", "NotFoundError")),
    true,
  );
  const offAir = opened("camera");
  offAir.chooseSource("screen", false);
  assert.equal(
    offAir.handleOpenFailed(offAir.beginOpening(), new DOMException("", "NotAllowedError")),
    true,
  );
});

test("a tab opens its source where that asks no question", () => {
  const rows: [PublishModel, SourceKind, boolean, string][] = [
    [setUp(), "camera", false, "close"],
    [setUp(), "camera", true, "open"],
    [setUp(), "test", false, "open"],
    [setUp(), "screen", true, "close"],
    [opened("camera"), "camera", true, "none"],
    [opened("camera"), "screen", true, "close"],
    [opened("camera", "connected"), "screen", true, "open"],
    [opened("test", "reconnecting"), "camera", false, "open"],
  ];
  for (const [model, kind, isAllowed, step] of rows) {
    assert.equal(model.chooseSource(kind, isAllowed), step, `${kind}, ${isAllowed}`);
    assert.equal(model.view().source, kind);
  }
});

test("a setting of the source opens it anew, if one is open or being opened", () => {
  assert.equal(setUp().changeSource({ height: 360 }), "none");
  const model = setUp();
  model.beginOpening();
  assert.equal(model.changeSource({ height: 360 }), "open");
  assert.equal(opened().changeSource({ sound: false }), "open");
  assert.equal(model.settings.height, 360);
});

test("on the air: live, measured, and locked", () => {
  const model = opened("test", "connected");
  model.handleSample(SAMPLE, []);
  model.handleStatus({ ...waitingStream("demo"), viewers: 2 });
  model.handleViewers(5);
  const view = model.view();
  assert.deepEqual(
    [view.isLive, view.viewers, view.stateText, view.title],
    [true, 5, "You are live", "● demo · Nowcast"],
  );
  assert.deepEqual(view.go, { text: "Stop", isStop: true, isDisabled: false });
  assert.deepEqual([view.isLocked, view.sizes.isDisabled], [true, true]);
  assert.deepEqual(view.facts, {
    bitrate: "2.4 Mb/s",
    frames: "30 fps",
    size: "1280×720",
    codec: "VP8",
    rtt: "12 ms",
    loss: "0 %",
  });
});

test("each state of the connection has its words and its button", () => {
  const rows: [ConnectionState, Problem | null, string, string, boolean][] = [
    ["connecting", null, "Connecting…", "Stop", true],
    ["reconnecting", null, "Connection lost, reconnecting…", "Stop", true],
    ["reconnecting", Problem.unreachable(), "Not live, trying again…", "Stop", false],
    ["refused", new Problem({ status: 401, title: "no" }), "Not live", "Try again", false],
    ["ended", null, "Not live", "Try again", false],
  ];
  for (const [connection, problem, stateText, go, hasFacts] of rows) {
    const model = opened("test");
    model.handleConnection(connection, problem);
    const view = model.view();
    assert.deepEqual(
      [view.stateText, view.go.text, view.facts !== null],
      [stateText, go, hasFacts],
      connection,
    );
    assert.equal(view.trouble === null, problem === null && connection !== "ended");
  }
});

test("a failed attempt of another publisher is shown while this page does not publish", () => {
  const status: StreamStatus = {
    ...waitingStream("demo"),
    publish_failure: { session: "0123abcd", reason: "alert", detail: "why", failed_at_ms: 0 },
  };
  const model = opened("test");
  model.handleStatus(status);
  assert.match(model.view().trouble?.title ?? "", /a publisher could not connect$/);
  assert.equal(model.view().stateText, "Ready");
  for (const connection of ["connecting", "connected", "reconnecting", "ended"] as const) {
    model.handleConnection(connection, null);
    assert.doesNotMatch(model.view().trouble?.title ?? "", /a publisher/, connection);
  }
  model.handleConnection("idle", null);
  model.handleStatus(waitingStream("demo"));
  assert.equal(model.view().trouble, null);
});

test("a trouble of this page comes before that of another publisher", () => {
  const model = setUp();
  const publish_failure = { session: "0", reason: "alert", detail: "why", failed_at_ms: 0 };
  model.handleStatus({ ...waitingStream("demo"), publish_failure });
  model.handleOpenFailed(model.beginOpening(), new DOMException("", "NotFoundError"));
  assert.equal(model.view().trouble?.title, "No camera or microphone was found");
});

test("a trouble goes when the next attempt begins", () => {
  const model = opened("test", "refused");
  model.handleConnection("refused", new Problem({ status: 409, title: "no" }));
  assert.match(model.view().trouble?.title ?? "", /“demo” is already live/);
  model.handleGo();
  assert.equal(model.view().trouble, null);
});

test("measurements end with the connection", () => {
  const model = opened("test", "connected");
  model.handleSample(SAMPLE, []);
  model.handleConnection("idle", null);
  assert.equal(model.sample, null);
});

test("a source that ends by itself says so, and is gone", () => {
  const model = opened("screen", "connected");
  model.handleConnection("idle", null);
  model.handleClosed();
  model.handleSourceEnded();
  const view = model.view();
  assert.deepEqual(
    [view.trouble?.title, view.empty?.button],
    ["The picture ended", "Choose a screen"],
  );
});

test("a warning of the server comes before remarks on the quality", () => {
  const model = opened("test", "connected");
  model.handleSample({ ...SAMPLE, limitation: "cpu" }, []);
  assert.match(model.view().aside ?? "", /too busy/);
  model.handleStatus({
    ...waitingStream("demo"),
    warnings: [{ code: "b_frames", detail: "Set B-frames to 0." }],
  });
  assert.equal(model.view().aside, "Set B-frames to 0.");
});

test("several sizes are offered only where the browser can send the codec in several", () => {
  assert.deepEqual(setUp("codec=VP9").view().sizes, {
    text: "Smaller sizes for slow networks",
    isDisabled: false,
    isChecked: true,
  });
  const { sizes } = setUp("codec=VP9", false).view();
  assert.deepEqual([sizes.isDisabled, sizes.isChecked], [true, false]);
  assert.match(sizes.text, /^One size only: .* VP9/);
});

test("a codec that this browser cannot send is replaced by its own choice", () => {
  const model = setUp("codec=H265");
  model.refuseCodec();
  assert.equal(model.settings.codec, null);
  assert.equal(model.view().trouble?.title, "This browser cannot send H.265");
});
