import assert from "node:assert/strict";
import { test } from "node:test";
import {
  waitingStream,
  type SentReport,
  type StreamStatus,
  type ViewerReport,
} from "../src/client/Api";
import { Problem } from "../src/client/Problem";
import { watchState, type WatchState } from "../src/watch/watchState";
import { warningWords } from "../src/watch/words";

const waiting = waitingStream("demo");
const video: StreamStatus["video"] = {
  codec: "VP8",
  width: 1280,
  height: 720,
  frame_rate: 30,
  bitrate_bps: 1,
  key_frame_interval_ms: null,
  layers: [],
};
const live: StreamStatus = { ...waiting, state: "live", video };
const lacking = { video: { reason: "codec" } as SentReport } as ViewerReport;
const paused: StreamStatus = { ...live, state: "paused" };

test("a viewer sees the state that connection, status and pictures make together", () => {
  const refused = (status: number) => new Problem({ status, title: "no" });
  const rows: [Partial<Parameters<typeof watchState>[0]>, WatchState][] = [
    [{ connection: "connecting" }, "connecting"],
    [{ status: null }, "connecting"],
    [{ status: waiting }, "waiting"],
    [{ status: live }, "connecting"],
    [{ status: live, frameAt: 900 }, "live"],
    [{ status: { ...live, video: null } }, "live"],
    [{ status: null, frameAt: 1 }, "live"],
    [{ status: paused, frameAt: 900 }, "paused"],
    // A picture tells of the start before the status does; a straggler at the end does not.
    [{ status: waiting, frameAt: 2_000 }, "live"],
    [{ status: paused, frameAt: 1_100 }, "paused"],
    [{ connection: "reconnecting", status: live, frameAt: 2_000 }, "reconnecting"],
    [{ connection: "refused", problem: refused(406) }, "unsupported"],
    [{ connection: "refused", problem: refused(401) }, "unauthorised"],
    [{ connection: "refused", problem: refused(400) }, "refused"],
    [{ connection: "ended" }, "ended"],
    // A codec that this browser lacks was published after it came, and then one that it has.
    [{ status: live, report: lacking }, "unsupported"],
    [{ status: live, report: lacking, frameAt: 900 }, "unsupported"],
    [{ status: live, report: lacking, frameAt: 2_000 }, "live"],
    [{ status: waiting, report: lacking }, "waiting"],
    [{ status: paused, report: lacking }, "paused"],
  ];
  for (const [known, expected] of rows) {
    const all = {
      connection: "connected",
      problem: null,
      status: null,
      statusAt: 1_000,
      frameAt: 0,
      report: null,
      ...known,
    } as const;
    assert.equal(watchState(all), expected, JSON.stringify(known));
  }
});

test("warnings of the stream are told to whom they concern", () => {
  const warned = {
    ...live,
    warnings: [
      { code: "b_frames", detail: "Set Max B-frames to 0." },
      { code: "new", detail: "Do so." },
    ],
  };
  assert.equal(
    warningWords(warned),
    "The publisher's encoder sends B-frames: most pictures are lost in browsers",
  );
  assert.equal(
    warningWords({ ...live, warnings: [{ code: "no_parameter_sets", detail: "" }] }),
    "The publisher sends no parameter sets: the picture cannot be decoded",
  );
  assert.equal(warningWords({ ...live, warnings: [{ code: "new", detail: "Do so." }] }), "Do so.");
  assert.equal(warningWords(live), "");
});
