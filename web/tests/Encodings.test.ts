import assert from "node:assert/strict";
import { test } from "node:test";
import { encodingsFor, sendingFor } from "../src/client/Encodings";

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
  assert.deepEqual(encodingsFor(720, 1_000_000).map(({ rid }) => rid), ["q", "h", "f"]);
  assert.deepEqual(encodingsFor(360, 1_000_000).map(({ rid }) => rid), ["h", "f"]);
});

test("what the audience has no use for is not sent, and never more than was chosen", () => {
  const encodings = encodingsFor(720, 2_500_000);
  assert.deepEqual(sendingFor(encodings, []), encodings.map(({ maxBitrate }) => ({ active: true, maxBitrate })));
  const wanted = [
    { rid: "q", active: true, max_bitrate_bps: 900_000 },
    { rid: "h", active: false, max_bitrate_bps: 500_000 },
    { rid: "f", active: true, max_bitrate_bps: 1_700_000 },
  ];
  assert.deepEqual(sendingFor(encodings, wanted), [
    { active: true, maxBitrate: 312_500 },
    { active: false, maxBitrate: 500_000 },
    { active: true, maxBitrate: 1_700_000 },
  ]);
  const nothing = wanted.map((layer) => ({ ...layer, active: false }));
  assert.deepEqual(sendingFor(encodings, nothing).map(({ active }) => active), [true, false, false]);
});
