import assert from "node:assert/strict";
import { test } from "node:test";
import { isLoopbackOnly, noMediaProblem } from "../src/client/MediaPath";

const sdp = (...addresses: string[]): string =>
  [
    "v=0",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    ...addresses.map((address, n) => `a=candidate:${n} 1 udp 1 ${address} 7882 typ host`),
    "",
  ].join("\r\n");

test("the candidates of both sides tell why no media connection comes about", () => {
  const browser = sdp("98bd037b-fd47-44db-a821-e22b555f7b1b.local");
  const rows: [string | null, string, string, RegExp, RegExp][] = [
    [
      sdp("127.0.0.1", "::1"),
      browser,
      "localhost",
      /on the loopback interface/,
      /without --loopback/,
    ],
    [sdp("127.0.0.1"), browser, "127.0.0.1", /on the loopback interface/, /without --loopback/],
    [sdp("::1"), browser, "[::1]", /on the loopback interface/, /without --loopback/],
    [sdp("127.0.0.1"), browser, "live.example", /does not get through/, /advertised_addresses/],
    [sdp("127.0.0.1", "::1"), sdp(), "localhost", /no network interface/, /Connect this machine/],
    [sdp("192.0.2.7"), sdp(), "live.example", /no network interface/, /Connect this machine/],
    // Firefox gives up at once where it has no candidates, before the answer comes.
    [null, sdp(), "localhost", /no network interface/, /Connect this machine/],
    [null, browser, "localhost", /does not get through/, /another network/],
    [sdp(), browser, "live.example", /does not get through/, /advertised_addresses/],
    [
      sdp("127.0.0.1", "192.0.2.7"),
      browser,
      "localhost",
      /does not get through/,
      /another network/,
    ],
    [sdp("127.0.0.1.example"), browser, "localhost", /does not get through/, /another network/],
  ];
  for (const [answer, offer, pageHost, title, fix] of rows) {
    const problem = noMediaProblem({ answer, offer, pageHost });
    const row = JSON.stringify({ answer, offer, pageHost });
    assert.match(problem.title, title, row);
    assert.match(problem.fix ?? "", fix, row);
  }
});

test("a server is on loopback only if it names addresses and all of them are there", () => {
  assert.equal(isLoopbackOnly(sdp("127.0.0.1", "::1")), true);
  assert.equal(isLoopbackOnly(sdp("127.0.0.1", "192.0.2.7")), false);
  assert.equal(isLoopbackOnly(sdp()), false);
});
