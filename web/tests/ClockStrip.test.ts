import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CELLS,
  encodeClock,
  readClock,
  readStrip,
  stripRectangle,
  type Pixels,
} from "../src/client/ClockStrip";

const NOW = 1_795_469_123_456;

test("a clock is read back at every size that browsers scale to", () => {
  for (const [width, height] of [
    [1920, 1080],
    [1280, 720],
    [960, 540],
    [854, 480],
    [640, 360],
    [480, 270],
    [320, 180],
  ] as const) {
    assert.equal(readClock(picture(width, height, NOW)), NOW, `${width}×${height}`);
  }
});

test("all of 48 bits come back", () => {
  for (const clock of [
    0,
    1,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    0xaaaaaaaaaaaa,
    0x555555555555,
    2 ** 48 - 1,
  ]) {
    assert.equal(readClock(picture(1280, 720, clock)), clock, String(clock));
  }
});

test("noise and a washed-out picture do not matter", () => {
  const random = seeded(7);
  for (let round = 0; round < 50; round++) {
    const clock = NOW + round * 33;
    const noisy = changed(
      picture(640, 360, clock),
      (value) => 30 + value * 0.7 + (random() - 0.5) * 60,
    );
    assert.equal(readClock(noisy), clock);
  }
});

test("a picture scaled down to a quarter and up again is read", () => {
  assert.equal(readClock(scaled(scaled(picture(1280, 720, NOW), 320, 180), 1280, 720)), NOW);
});

test("a strip cut out of its picture is read", () => {
  const whole = picture(1280, 720, NOW);
  const { y, height } = stripRectangle(1280, 720);
  const data = (whole.data as Uint8ClampedArray).slice(y * 1280 * 4);
  assert.equal(readStrip({ data, width: 1280, height }), NOW);
});

test("a picture without a clock gives nothing", () => {
  const grey = changed(picture(640, 360, NOW), () => 128);
  assert.equal(readClock(grey), null);
  const random = seeded(3);
  assert.equal(readClock(changed(grey, () => random() * 255)), null);
});

test("a damaged clock gives nothing, rather than a wrong time", () => {
  for (let cell = 4; cell < CELLS - 4; cell++) {
    const damaged = picture(1280, 720, NOW);
    const data = damaged.data as Uint8ClampedArray;
    const width = 1280 / CELLS;
    for (let y = 680; y < 720; y++) {
      for (let x = cell * width; x < (cell + 1) * width; x++) data[(y * 1280 + x) * 4 + 1]! ^= 0xff;
    }
    assert.equal(readClock(damaged), null, `cell ${cell}`);
  }
});

test("the strip is as wide as the picture, a cell 20 by 40 pixels at 720p", () => {
  assert.deepEqual(stripRectangle(1280, 720), { x: 0, y: 680, width: 1280, height: 40 });
  assert.equal(encodeClock(NOW).length, CELLS);
});

function picture(width: number, height: number, clock: number): Pixels {
  const data = new Uint8ClampedArray(width * height * 4).fill(90);
  const cells = encodeClock(clock);
  const strip = stripRectangle(width, height);
  for (let y = strip.y; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = cells[Math.floor((x * CELLS) / width)] ? 255 : 0;
      data.fill(value, (y * width + x) * 4, (y * width + x) * 4 + 3);
    }
  }
  return { data, width, height };
}

function changed(picture: Pixels, change: (value: number) => number): Pixels {
  return { ...picture, data: Uint8ClampedArray.from(picture.data, change) };
}

function scaled(from: Pixels, width: number, height: number): Pixels {
  const data = new Uint8ClampedArray(width * height * 4);
  const [fx, fy] = [from.width / width, from.height / height];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      let count = 0;
      for (let sy = Math.floor(y * fy); sy < Math.max((y + 1) * fy, Math.floor(y * fy) + 1); sy++) {
        for (
          let sx = Math.floor(x * fx);
          sx < Math.max((x + 1) * fx, Math.floor(x * fx) + 1);
          sx++
        ) {
          sum += from.data[(sy * from.width + sx) * 4 + 1] ?? 0;
          count += 1;
        }
      }
      data.fill(sum / count, (y * width + x) * 4, (y * width + x) * 4 + 4);
    }
  }
  return { data, width, height };
}

/** mulberry32: small, and the same on every machine. */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
