import assert from "node:assert/strict";
import { test } from "node:test";
import type { WantedLayer } from "../src/client/Api";
import { encodingsFor, sendingFor, type Sending } from "../src/client/Encodings";

test("sizes grow, names are unique, and nothing is smaller than 180 lines", () => {
  for (const height of [180, 360, 480, 720, 1080]) {
    const encodings = encodingsFor(height, 2_500_000);
    assert.equal(encodings.at(-1)?.scale, 1);
    assert.equal(encodings.at(-1)?.maxBitrate, 2_500_000);
    assert.equal(new Set(encodings.map(({ rid }) => rid)).size, encodings.length);
    for (const [n, { scale, maxBitrate }] of encodings.entries()) {
      assert.ok(height / scale >= 180, `${height} / ${scale}`);
      const next = encodings[n + 1];
      if (next) assert.ok(maxBitrate < next.maxBitrate && scale > next.scale);
    }
  }
  assert.deepEqual(
    encodingsFor(720, 1_000_000).map(({ rid }) => rid),
    ["q", "h", "f"],
  );
  assert.deepEqual(
    encodingsFor(360, 1_000_000).map(({ rid }) => rid),
    ["h", "f"],
  );
});

const ALL: WantedLayer = {
  rid: null,
  active: true,
  max_bitrate_bps: null,
  max_framerate: null,
  max_spatial_layer: null,
  max_temporal_layer: null,
};
const THREE = { encodings: encodingsFor(720, 2_500_000), maxFrameRate: 30, scalabilityMode: null };

test("what the audience has no use for is not sent, and never more than was chosen", () => {
  const kept = { maxFrameRate: 30, scalabilityMode: null };
  const chosen = THREE.encodings.map(({ maxBitrate, scale }) => ({
    active: true,
    maxBitrate,
    scale,
    ...kept,
  }));
  assert.deepEqual(sendingFor(THREE, []), chosen);
  const wanted = [
    { ...ALL, rid: "q", max_bitrate_bps: 900_000 },
    { ...ALL, rid: "h", active: false, max_bitrate_bps: 500_000 },
    { ...ALL, rid: "f", max_bitrate_bps: 1_700_000, max_framerate: 15 },
  ];
  assert.deepEqual(sendingFor(THREE, wanted), [
    { active: true, maxBitrate: 312_500, scale: 4, ...kept },
    { active: false, maxBitrate: 500_000, scale: 2, ...kept },
    { active: true, maxBitrate: 1_700_000, scale: 1, ...kept, maxFrameRate: 15 },
  ]);
  const nothing = wanted.map((layer) => ({ ...layer, active: false }));
  assert.deepEqual(
    sendingFor(THREE, nothing).map(({ active }) => active),
    [true, false, false],
  );
});

test("layers without viewers leave those below as they are", () => {
  const check = (
    mode: string | null,
    fewer: Partial<WantedLayer>,
    expected: Partial<Sending>,
  ): void => {
    const one = {
      encodings: encodingsFor(720, 2_500_000).slice(-1),
      maxFrameRate: 30,
      scalabilityMode: mode,
    };
    const whole = {
      active: true,
      maxBitrate: 2_500_000,
      maxFrameRate: 30,
      scale: 1,
      scalabilityMode: mode,
    };
    assert.deepEqual(
      sendingFor(one, [{ ...ALL, ...fewer }]),
      [{ ...whole, ...expected }],
      `${mode} ${JSON.stringify(fewer)}`,
    );
  };
  check("L3T3_KEY", {}, {});
  check(
    "L3T3_KEY",
    { max_spatial_layer: 1 },
    { scalabilityMode: "L2T3_KEY", scale: 2, maxBitrate: 883_883 },
  );
  check(
    "L3T3_KEY",
    { max_spatial_layer: 0 },
    { scalabilityMode: "L1T3", scale: 4, maxBitrate: 312_500 },
  );
  check(
    "L2T2",
    { max_spatial_layer: 0, max_temporal_layer: 0 },
    { scalabilityMode: "L1T1", scale: 2, maxBitrate: 883_883, maxFrameRate: 15 },
  );
  check("L3T3", { max_temporal_layer: 1 }, { scalabilityMode: "L3T2", maxFrameRate: 15 });
  check(
    "L1T3",
    { max_temporal_layer: 0, max_framerate: 20 },
    { scalabilityMode: "L1T1", maxFrameRate: 7.5 },
  );
  check(null, { max_framerate: 20 }, { maxFrameRate: 20 });
  check(null, { max_framerate: 1 }, { maxFrameRate: 5 });
  check("L1T2", { max_framerate: 60, max_spatial_layer: 7, max_temporal_layer: 7 }, {});
});

test("all sizes have as many temporal layers as one of those that are sent needs", () => {
  const modes = (...temporal: (number | null)[]): (string | null)[] => {
    const wanted = ["q", "h", "f"].map((rid, n) => ({
      ...ALL,
      rid,
      active: n < 2,
      max_temporal_layer: temporal[n] ?? null,
    }));
    return sendingFor(THREE, wanted).map(({ scalabilityMode }) => scalabilityMode);
  };
  assert.deepEqual(modes(0, 1, null), ["L1T2", "L1T2", "L1T2"]);
  assert.deepEqual(modes(0, null, 0), [null, null, null]);
});
