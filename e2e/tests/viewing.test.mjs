/** The arithmetic of the matrix: freezes, coming back, fairness. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backOnTop, gapsBetween, jain } from "../lib/viewing.mjs";

/** Frames of `height` each 33 ms from `from` to `to`. */
const frames = (from, to, height) => Array.from({ length: Math.floor((to - from) / 33) }, (_, i) => ({ at: from + i * 33, height }));

describe("what a viewer has seen", () => {
  test("a freeze at the edge of the time counts", () => {
    assert.deepEqual(gapsBetween([{ at: 5 }, { at: 20 }, { at: 50 }, { at: 999 }], 10, 100), [10, 30, 50]);
    assert.deepEqual(gapsBetween([], 0, 10_000), [10_000]);
  });

  test("back on top is high and smooth for two seconds", () => {
    const rows = [
      [frames(0, 4_000, 720), 0],
      [[...frames(0, 1_000, 360), ...frames(1_000, 4_000, 720)], 1_023],
      [[...frames(0, 1_000, 720), ...frames(3_000, 6_000, 720)], 3_000],
      [frames(0, 1_500, 720), null],
      [frames(0, 9_000, 360), null],
    ];
    for (const [seen, expected] of rows) {
      const at = backOnTop(seen, 0, 720);
      if (expected === null) assert.equal(at, null);
      else assert.ok(Math.abs(at - expected) < 34, `${at}, not ${expected}`);
    }
  });

  test("Jain's index", () => {
    assert.equal(jain([1, 1, 1, 1]), 1);
    assert.equal(jain([1, 0, 0, 0]), 0.25);
    assert.equal(jain([]), 0);
  });
});
