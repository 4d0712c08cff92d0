import assert from "node:assert/strict";
import { test } from "node:test";
import { encodingsFor } from "../src/client/Encodings";

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
