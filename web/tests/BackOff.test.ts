import assert from "node:assert/strict";
import { test } from "node:test";
import { BackOff } from "../src/client/BackOff";
import { pause } from "../src/client/EventStream";
import { FakeBrowser, settled } from "./support/FakeBrowser";

test("waits double up to the bound, between half and all of it", () => {
  for (const [random, share] of [
    [0, 0.5],
    [0.5, 0.75],
  ] as const) {
    const backOff = new BackOff(300, 8_000, { random: () => random });
    const waits = Array.from({ length: 8 }, () => backOff.next() / share);
    assert.deepEqual(waits, [300, 600, 1_200, 2_400, 4_800, 8_000, 8_000, 8_000]);
    backOff.reset();
    assert.equal(backOff.next(), 300 * share);
  }
});

test("thousands of tries keep the bound", () => {
  const backOff = new BackOff(300, 8_000, { random: () => 0 });
  for (let tries = 0; tries < 5_000; tries++) backOff.next();
  assert.equal(backOff.next(), 4_000);
});

test("a pause ends in time, or when it is stopped, and leaves no listener behind", async () => {
  const browser = new FakeBrowser();
  const controller = new AbortController();
  let listeners = 0;
  const { signal } = controller;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...all: Parameters<typeof add>) => ((listeners += 1), add(...all));
  signal.removeEventListener = (...all: Parameters<typeof remove>) => (
    (listeners -= 1),
    remove(...all)
  );

  let ended = 0;
  void pause(browser, 1_000, signal).then(() => (ended += 1));
  await browser.passes(999);
  assert.equal(ended, 0);
  await browser.passes(1);
  assert.deepEqual([ended, listeners], [1, 0]);

  void pause(browser, 1_000, signal).then(() => (ended += 1));
  controller.abort();
  await settled();
  assert.deepEqual([ended, listeners], [2, 0]);
  await pause(browser, 1_000, signal);
});
