import assert from "node:assert/strict";
import { test } from "node:test";
import { PictureWish } from "../src/client/PictureWish";
import { Problem } from "../src/client/Problem";
import { FakeBrowser, settled } from "./support/FakeBrowser";

function setUp() {
  const told: string[] = [];
  const problems: (Problem | null)[] = [];
  const session = (url: string) => ({
    url,
    wish: async (wish: object) => {
      told.push(`${url} ${JSON.stringify(wish)}`);
      const problem = problems.shift();
      if (problem) throw problem;
    },
  });
  const client = { state: "connected", session: session("/1") };
  const browser = new FakeBrowser();
  return { told, problems, client, session, browser, wish: new PictureWish(client, browser) };
}

test("a viewer that chose nothing and looks tells nothing", () => {
  const { told, wish, client, session } = setUp();
  wish.tell();
  client.session = session("/2");
  wish.tell();
  assert.deepEqual(told, []);
});

test("a choice is told once to each session", () => {
  const { told, wish, client, session } = setUp();
  wish.choose("h");
  wish.tell();
  client.session = session("/2");
  wish.tell();
  wish.tell();
  assert.deepEqual(told, [
    '/1 {"encodingId":"h","paused":false}',
    '/2 {"encodingId":"h","paused":false}',
  ]);
});

test("a choice that was made without a connection is told when there is one", () => {
  const { told, wish, client } = setUp();
  client.state = "reconnecting";
  wish.choose("h");
  assert.deepEqual(told, []);
  client.state = "connected";
  wish.tell();
  assert.deepEqual(told, ['/1 {"encodingId":"h","paused":false}']);
});

test("a page that is hidden for 5 s gives the picture up, and has it back at once", async () => {
  const { told, wish, browser } = setUp();
  wish.look(false);
  await browser.passes(4_999);
  assert.deepEqual(told, []);
  await browser.passes(1);
  wish.look(true);
  assert.deepEqual(told, [
    '/1 {"encodingId":null,"paused":true}',
    '/1 {"encodingId":null,"paused":false}',
  ]);
});

test("a page that is hidden for less than 5 s keeps its picture", async () => {
  const { told, wish, browser } = setUp();
  wish.look(false);
  await browser.passes(4_000);
  wish.look(true);
  await browser.passes(60_000);
  assert.deepEqual(told, []);
});

test("a wish that was lost is told again, so that no picture stays paused", async () => {
  for (const problem of [
    Problem.unreachable(),
    new Problem({ status: 503, title: "no" }),
    new Problem({ status: 429, title: "no" }),
  ]) {
    const { told, problems, wish, browser } = setUp();
    wish.look(false);
    await browser.passes(5_000);
    problems.push(problem);
    wish.look(true);
    await settled();
    wish.tell();
    await settled();
    wish.tell();
    assert.deepEqual(told.slice(1), [
      '/1 {"encodingId":null,"paused":false}',
      '/1 {"encodingId":null,"paused":false}',
    ]);
  }
});

test("a choice that the server refuses is dropped", async () => {
  const { told, problems, wish } = setUp();
  problems.push(new Problem({ status: 400, title: "no such layer" }));
  wish.choose("h");
  await settled();
  assert.equal(wish.chosen, null);
  wish.tell();
  wish.tell();
  assert.deepEqual(told, [
    '/1 {"encodingId":"h","paused":false}',
    '/1 {"encodingId":null,"paused":false}',
  ]);
});
