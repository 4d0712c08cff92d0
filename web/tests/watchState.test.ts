import assert from "node:assert/strict";
import { test } from "node:test";
import { waitingStream, type StreamStatus } from "../src/client/Api";
import { Problem } from "../src/client/Problem";
import { watchState, type WatchState } from "../src/watch/watchState";

const waiting = waitingStream("demo");
const video: StreamStatus["video"] = {
  codec: "VP8", width: 1280, height: 720, frame_rate: 30, bitrate_bps: 1, key_frame_interval_ms: null, layers: [],
};
const live: StreamStatus = { ...waiting, state: "live", video };
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
  ];
  for (const [known, expected] of rows) {
    const all = { connection: "connected", problem: null, status: null, statusAt: 1_000, frameAt: 0, ...known } as const;
    assert.equal(watchState(all), expected, JSON.stringify(known));
  }
});
