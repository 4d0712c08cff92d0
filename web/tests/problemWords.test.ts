import assert from "node:assert/strict";
import { test } from "node:test";
import { Problem } from "../src/client/Problem";
import { problemWords, sentences } from "../src/ui/problemWords";

test("parts become sentences", () => {
  const rows: [(string | null | undefined)[], string][] = [
    [
      ["too many streams are open", "try again later"],
      "Too many streams are open. Try again later.",
    ],
    [["Busy.", null, undefined, " ", "wait…"], "Busy. Wait…"],
    [[], ""],
  ];
  for (const [parts, text] of rows) assert.equal(sentences(parts), text);
});

test("names of status codes are replaced where they say little", () => {
  const words = (status: number) =>
    problemWords(new Problem({ status, title: "Name", detail: "it is so", fix: "do that" }));
  assert.deepEqual(words(503), {
    title: "The server takes no more sessions right now",
    text: "It is so. This page keeps trying by itself.",
  });
  assert.equal(words(429).title, "Too many requests from this address");
  assert.equal(words(500).title, "The server failed");
  assert.equal(words(0).title, "Name");
  assert.deepEqual(words(404), { title: "Name", text: "It is so. Do that." });
});

test("a failed handshake has its own title, and the page's advice instead of the server's", () => {
  const problem = { status: 404, title: "Name", detail: "it is so", fix: "do that" };
  assert.deepEqual(problemWords(new Problem({ ...problem, handshake: "alert" })), {
    title: "The encrypted connection could not be made",
    text: "It is so. This page keeps trying by itself.",
  });
});
