import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Access } from "../src/client/Access";
import { LiveConnection } from "../src/client/LiveConnection";
import { Problem } from "../src/client/Problem";
import {
  ANSWER,
  created,
  json,
  never,
  neverUnlessAborted,
  refused,
  unreachable,
} from "./support/answers";
import { FakeBrowser, settled, type Request } from "./support/FakeBrowser";

/** The rules that all connections share, without media. */
class PlainConnection extends LiveConnection {
  protected override prepare(): void {}
}

/** What the server does with each kind of request. */
interface Answers {
  post?: (request: Request, count: number) => Response | Promise<Response>;
  patch?: (request: Request) => Response | Promise<Response>;
  get?: (request: Request) => Response | Promise<Response>;
}

function start({ post, patch, get }: Answers = {}) {
  const browser = new FakeBrowser();
  let posts = 0;
  browser.server = (request) => {
    switch (request.method) {
      case "POST":
        posts += 1;
        return post ? post(request, posts) : created(posts);
      case "PATCH":
        return patch
          ? patch(request)
          : new Response(fragment("again"), { status: 200, headers: { ETag: '"2"' } });
      case "GET":
        return get ? get(request) : json({});
      default:
        return new Response(null, { status: 200 });
    }
  };
  const connection = new PlainConnection("/whep/demo", new Access("secret"), browser);
  const states: string[] = [];
  connection.onchange = () => states.push(connection.state);
  connection.start();
  return { browser, connection, states };
}

/** A connection that has been connected for a minute. */
async function connected(answers: Answers = {}) {
  const all = start(answers);
  await settled();
  await all.browser.peer.becomes("connected");
  await all.browser.passes(60_000);
  return all;
}

const fragment = (ufrag: string): string =>
  [
    `a=ice-ufrag:${ufrag}`,
    "a=ice-pwd:secret",
    "a=candidate:1 1 udp 1 192.0.2.8 7882 typ host",
    "",
  ].join("\r\n");

/** 404 of a session whose DTLS handshake failed. */
const handshakeFailed = (): Response =>
  refused(404, { detail: "no common curve", handshake: "cipher" });

const posts = (browser: FakeBrowser): number => browser.sent("POST").length;

describe("opening", () => {
  test("an answered offer whose peer connects is connected", async () => {
    const { browser, connection, states } = start();
    await settled();
    assert.deepEqual(browser.sent(), ["POST /whep/demo"]);
    assert.equal(browser.requests[0]?.headers["Authorization"], "Bearer secret");
    assert.equal(browser.peer.remoteDescription?.sdp, ANSWER);
    await browser.peer.becomes("connected");
    await browser.passes(60_000);
    assert.equal(connection.state, "connected");
    assert.deepEqual(states, ["connecting", "connected"]);
    assert.equal(posts(browser), 1);
  });

  test("answers that say that the request is wrong end the attempts", async () => {
    for (const status of [400, 401, 403, 404, 405, 406, 413, 415, 422]) {
      const { browser, connection } = start({ post: () => refused(status) });
      await browser.passes(600_000);
      assert.equal(connection.state, "refused", String(status));
      assert.equal(connection.problem?.status, status);
      assert.equal(posts(browser), 1);
    }
  });

  test("answers that say that the moment is wrong are followed by another attempt", async () => {
    for (const status of [408, 409, 429, 500, 502, 503, 504]) {
      const { browser, connection } = start({
        post: (_, count) => (count === 1 ? refused(status) : created(count)),
      });
      await browser.passes(1_000);
      assert.equal(posts(browser), 2, String(status));
      await browser.peer.becomes("connected");
      assert.equal(connection.state, "connected");
      assert.equal(connection.problem, null);
    }
  });

  test("a server out of reach is asked after 150, 300, 600 ms … and then every 4 s", async () => {
    const { browser, connection } = start({ post: unreachable });
    await browser.passes(30_000);
    const at = browser.requests.map((request) => request.at);
    assert.deepEqual(at.slice(0, 9), [0, 150, 450, 1_050, 2_250, 4_650, 8_650, 12_650, 16_650]);
    assert.equal(connection.state, "reconnecting");
    assert.equal(connection.problem?.title, "The server does not answer");
  });

  test("503 with Retry-After is obeyed, with the back-off on top", async () => {
    const { browser } = start({
      post: (_, count) => (count === 1 ? refused(503, { retryAfter: "5" }) : created(2)),
    });
    await browser.passes(5_149);
    assert.equal(posts(browser), 1);
    await browser.passes(1);
    assert.equal(posts(browser), 2);
  });

  test("a Retry-After longer than a timer takes is bounded, not over at once", async () => {
    for (const retryAfter of ["1e10", "99999999999", "3600"]) {
      const { browser } = start({ post: () => refused(503, { retryAfter }) });
      await browser.passes(60_000);
      assert.equal(posts(browser), 1, retryAfter);
      await browser.passes(300_000);
      assert.equal(posts(browser), 2, retryAfter);
    }
  });

  test("an offer without an answer is given up for another attempt", async () => {
    const { browser, connection } = start({
      post: (_, count) => (count === 1 ? never() : created(count)),
    });
    await browser.passes(16_000);
    assert.equal(posts(browser), 2);
    await browser.peer.becomes("connected");
    assert.equal(connection.state, "connected");
  });

  test("an answer without a connection is given up after 10 s, on loopback 3 s", async () => {
    const loopback = ANSWER.replace("192.0.2.7", "127.0.0.1");
    for (const [answer, ms] of [
      [ANSWER, 10_000],
      [loopback, 3_000],
    ] as const) {
      const { browser, connection } = start({ post: (_, count) => created(count, { answer }) });
      await browser.passes(ms - 1);
      assert.equal(connection.state, "connecting");
      await browser.passes(1);
      assert.equal(connection.state, "reconnecting");
      assert.match(connection.problem?.title ?? "", /media does not get through/);
      assert.deepEqual(browser.sent("DELETE"), ["DELETE /whep/demo/1"]);
    }
  });

  test("a session that is answered after stop() is ended", async () => {
    let answer: (response: Response) => void = () => {};
    const { browser, connection } = start({
      post: () => new Promise((resolve) => (answer = resolve)),
    });
    await settled();
    connection.stop();
    answer(created(1));
    await settled();
    assert.deepEqual(browser.sent(), ["POST /whep/demo", "DELETE /whep/demo/1"]);
    assert.equal(connection.state, "idle");
    assert.equal(browser.listeners, 0);
  });

  test("starting again after a refusal does not show that refusal any more", async () => {
    const { browser, connection } = start({
      post: (_, count) => (count === 1 ? refused(401) : never()),
    });
    await settled();
    connection.start();
    await settled();
    assert.equal(connection.state, "connecting");
    assert.equal(connection.problem, null);
    assert.equal(posts(browser), 2);
  });
});

describe("failed handshakes", () => {
  test("ICE or DTLS that fails before the first connection: the server says why", async () => {
    const { browser, connection, states } = start({ get: handshakeFailed });
    await settled();
    await browser.peer.becomes("failed");
    assert.deepEqual(browser.sent("GET"), ["GET /whep/demo/1"]);
    assert.equal(browser.requests[1]?.headers["Authorization"], "Bearer secret");
    assert.deepEqual(
      [connection.problem?.handshake, connection.problem?.detail],
      ["cipher", "no common curve"],
    );
    await browser.passes(150);
    assert.equal(posts(browser), 2);
    assert.deepEqual(states, ["connecting", "reconnecting"]);
  });

  test("a connection that has not come about in time: the server says why", async () => {
    const { browser, connection } = start({ get: handshakeFailed });
    await browser.passes(10_000);
    assert.equal(connection.problem?.handshake, "cipher");
  });

  test("a handshake that fails when a connection is to be replaced says why, too", async () => {
    const { browser, connection } = await connected({ get: handshakeFailed });
    await browser.peer.becomes("failed");
    assert.deepEqual([connection.state, connection.problem], ["reconnecting", null]);
    await browser.passes(150);
    await browser.peer.becomes("failed");
    assert.equal(connection.problem?.handshake, "cipher");
  });

  test("where the server knows no reason, the page finds its own", async () => {
    const gets = [() => json({}), () => new Response(null, { status: 204 }), () => refused(404)];
    for (const get of [...gets, () => refused(405), unreachable]) {
      const { browser, connection } = start({ get });
      await settled();
      await browser.peer.becomes("failed");
      assert.match(connection.problem?.title ?? "", /media does not get through/);
      assert.equal(connection.problem?.handshake, null);
    }
  });

  test("a server that does not say why is not waited for longer than 2 s", async () => {
    const { browser, connection } = start({ get: neverUnlessAborted });
    await settled();
    await browser.peer.becomes("failed");
    await browser.passes(1_999);
    assert.equal(connection.state, "connecting");
    await browser.passes(1);
    assert.equal(connection.state, "reconnecting");
    assert.match(connection.problem?.title ?? "", /media does not get through/);
  });

  test("an attempt that connects while the server is asked why it has not is kept", async () => {
    const { browser, connection } = start({ get: neverUnlessAborted });
    await browser.passes(10_500);
    await browser.peer.becomes("connected");
    await browser.passes(60_000);
    assert.equal(connection.state, "connected");
    assert.equal(posts(browser), 1);
  });

  test("a connection stopped while the server is asked opens no session", async () => {
    const { browser, connection } = start({ get: neverUnlessAborted });
    await settled();
    await browser.peer.becomes("failed");
    connection.stop();
    await browser.passes(60_000);
    assert.equal(connection.state, "idle");
    assert.equal(posts(browser), 1);
  });

  test("a session that the server reports as failed is replaced, and says why", async () => {
    const { browser, connection } = await connected();
    const problem = new Problem({ status: 404, title: "no", handshake: "finished" });
    connection.replaceFailed(problem);
    assert.deepEqual([connection.state, connection.problem], ["reconnecting", problem]);
    await browser.passes(150);
    assert.equal(posts(browser), 2);
    connection.stop();
    connection.replaceFailed(problem);
    assert.equal(connection.state, "idle");
  });
});

describe("losing", () => {
  test("ICE that is disconnected for less than 2 s changes nothing", async () => {
    const { browser, connection } = await connected();
    await browser.peer.becomes("disconnected");
    await browser.passes(1_999);
    await browser.peer.becomes("connected");
    await browser.passes(60_000);
    assert.equal(connection.state, "connected");
    assert.deepEqual(browser.sent(), ["POST /whep/demo"]);
  });

  test("ICE that is disconnected for 2 s is restarted within the session", async () => {
    const { browser, connection, states } = await connected();
    await browser.peer.becomes("disconnected");
    await browser.passes(2_000);
    assert.deepEqual(browser.sent(), ["POST /whep/demo", "PATCH /whep/demo/1"]);
    assert.equal(browser.requests[1]?.headers["If-Match"], "*");
    assert.match(browser.requests[1]?.body ?? "", /^a=ice-ufrag:restart2\r\n/);
    assert.match(browser.peer.remoteDescription?.sdp ?? "", /a=ice-ufrag:again/);
    await browser.peer.becomes("connected");
    await browser.passes(60_000);
    assert.equal(connection.state, "connected");
    assert.deepEqual(states, ["connecting", "connected", "reconnecting", "connected"]);
    assert.equal(browser.peers.length, 1);
  });

  test("a restart that has not helped within 4 s is followed by a new session", async () => {
    const { browser } = await connected();
    await browser.peer.becomes("disconnected");
    await browser.passes(2_000 + 4_000 + 150);
    assert.deepEqual(browser.sent(), [
      "POST /whep/demo",
      "PATCH /whep/demo/1",
      "DELETE /whep/demo/1",
      "POST /whep/demo",
    ]);
    assert.equal(browser.peers[0]?.isClosed, true);
  });

  test("a restart without an answer is followed by a new session as well", async () => {
    const { browser } = await connected({ patch: never });
    await browser.peer.becomes("disconnected");
    await browser.passes(2_000 + 4_000 + 150);
    assert.equal(posts(browser), 2);
  });

  test("a restart that the server refuses is followed by a new session at once", async () => {
    for (const status of [404, 405, 412, 500]) {
      const { browser, connection } = await connected({ patch: () => refused(status) });
      await browser.peer.becomes("disconnected");
      await browser.passes(2_150);
      assert.equal(posts(browser), 2, String(status));
      assert.equal(connection.problem, null);
    }
  });

  test("a restart refused with Retry-After is followed by a new session after it", async () => {
    const { browser } = await connected({ patch: () => refused(503, { retryAfter: "5" }) });
    await browser.peer.becomes("disconnected");
    await browser.passes(2_000 + 5_149);
    assert.equal(posts(browser), 1);
    await browser.passes(1);
    assert.equal(posts(browser), 2);
  });

  test("a connection that heals while its restart fails is kept", async () => {
    for (const answer of [unreachable, () => refused(503), () => refused(429)]) {
      let fail: () => void = () => {};
      const failed = new Promise<void>((resolve) => (fail = resolve));
      const { browser, connection } = await connected({
        patch: async () => (await failed, answer()),
      });
      await browser.peer.becomes("disconnected");
      await browser.passes(2_500);
      await browser.peer.becomes("connected");
      fail();
      await browser.passes(60_000);
      assert.equal(connection.state, "connected");
      assert.equal(posts(browser), 1);
      assert.deepEqual(browser.peer.set, ["offer", "offer", "rollback"]);
    }
  });

  test("a connection that heals is replaced if its restart is answered with 404", async () => {
    let fail: () => void = () => {};
    const failed = new Promise<void>((resolve) => (fail = resolve));
    const { browser } = await connected({ patch: async () => (await failed, refused(404)) });
    await browser.peer.becomes("disconnected");
    await browser.passes(2_500);
    await browser.peer.becomes("connected");
    fail();
    await browser.passes(1_000);
    assert.equal(posts(browser), 2);
  });

  test("the answer to an earlier restart is not applied to a later one", async () => {
    const answers: ((response: Response) => void)[] = [];
    const { browser } = await connected({
      patch: () => new Promise((resolve) => answers.push(resolve)),
    });
    await browser.peer.becomes("disconnected");
    await browser.passes(2_000);
    await browser.peer.becomes("connected");
    await browser.peer.becomes("disconnected");
    await browser.passes(2_000);
    answers[0]?.(new Response(fragment("early"), { status: 200 }));
    await settled();
    assert.doesNotMatch(browser.peer.remoteDescription?.sdp ?? "", /early/);
    answers[1]?.(new Response(fragment("late"), { status: 200 }));
    await settled();
    assert.match(browser.peer.remoteDescription?.sdp ?? "", /late/);
    assert.equal(posts(browser), 1);
  });

  test("ICE that has failed is followed by a new session", async () => {
    const { browser, connection } = await connected();
    await browser.peer.becomes("failed");
    assert.equal(connection.state, "reconnecting");
    assert.equal(connection.problem, null);
    await browser.passes(150);
    assert.deepEqual(browser.sent(), ["POST /whep/demo", "DELETE /whep/demo/1", "POST /whep/demo"]);
  });

  test("ICE that fails before the first connection says why", async () => {
    const { browser, connection } = start();
    await settled();
    await browser.peer.becomes("failed");
    assert.match(connection.problem?.title ?? "", /media does not get through/);
  });

  test("what an abandoned peer connection reports is ignored", async () => {
    const { browser, connection } = await connected();
    const [old] = browser.peers;
    await browser.peer.becomes("failed");
    await browser.passes(150);
    await browser.peer.becomes("connected");
    await old?.becomes("failed");
    await old?.isToldGoodbye();
    await browser.passes(60_000);
    assert.equal(connection.state, "connected");
    assert.equal(posts(browser), 2);
  });

  test("a token that has expired ends the attempts", async () => {
    const { browser, connection } = await connected({
      post: (_, count) => (count === 1 ? created(1) : refused(401)),
    });
    await browser.peer.becomes("failed");
    await browser.passes(600_000);
    assert.equal(connection.state, "refused");
    assert.equal(connection.problem?.status, 401);
    assert.equal(posts(browser), 2);
  });
});

describe("the server's goodbye", () => {
  test("DTLS closed and the session gone: the server has ended it", async () => {
    const { browser, connection } = await connected({ get: () => refused(404) });
    await browser.peer.isToldGoodbye();
    await browser.passes(600_000);
    assert.equal(connection.state, "ended");
    assert.equal(posts(browser), 1);
    // The session is gone: there is nothing left to delete.
    assert.deepEqual(browser.sent("DELETE"), []);
  });

  test("DTLS closed by a server that restarts: a new session as soon as it is back", async () => {
    let isDown = true;
    const down = (): Response => (isDown ? unreachable() : refused(503));
    const { browser, connection } = await connected({
      get: down,
      post: (_, count) => (count > 1 && isDown ? unreachable() : created(count)),
    });
    await browser.peer.isToldGoodbye();
    await browser.passes(3_000);
    assert.equal(connection.state, "reconnecting");
    assert.equal(connection.problem?.title, "The server does not answer");
    isDown = false;
    await browser.passes(8_000);
    await browser.peer.becomes("connected");
    assert.equal(connection.state, "connected");
  });

  test("DTLS closed and no answer about the session: a new session after 4 s", async () => {
    const { browser } = await connected({ get: never });
    await browser.peer.isToldGoodbye();
    await browser.passes(4_150);
    assert.equal(posts(browser), 2);
  });

  test("DTLS closed while the session is still there: a loss like any other", async () => {
    const { browser } = await connected({ get: () => json({}) });
    await browser.peer.becomes("closed");
    await browser.passes(150);
    assert.equal(posts(browser), 2);
  });
});

describe("doubt", () => {
  test("a session that the server does not know any more is replaced at once", async () => {
    const { browser, connection } = await connected({ get: () => refused(404) });
    await connection.verify();
    await settled();
    assert.equal(posts(browser), 2);
  });

  test("a session that the server knows, or says nothing about, is kept", async () => {
    for (const get of [() => json({}), unreachable, () => refused(503)]) {
      const { browser, connection } = await connected({ get });
      await connection.verify();
      await browser.passes(60_000);
      assert.equal(connection.state, "connected");
      assert.equal(posts(browser), 1);
    }
  });

  test("sessions that are lost right after they connect are opened ever more slowly", async () => {
    const { browser, connection } = start({ get: () => refused(404) });
    connection.onchange = () => {
      if (connection.state === "connected") void connection.verify();
    };
    for (let ms = 0; ms < 60_000; ms += 50) {
      await browser.passes(50);
      if (browser.peer.connectionState === "new" && browser.peer.remoteDescription)
        await browser.peer.becomes("connected");
    }
    // 0.15, 0.3, 0.6, 1.2, 2.4 s, and then every 4 s.
    assert.ok(posts(browser) <= 22, `${posts(browser)} sessions in a minute`);
    assert.ok(posts(browser) >= 15, `${posts(browser)} sessions in a minute`);
  });

  test("after a connection that lasted the waits are short again", async () => {
    const { browser } = start({
      post: (_, count) => (count <= 6 ? unreachable() : created(count)),
    });
    await browser.passes(9_000);
    await browser.peer.becomes("connected");
    await browser.passes(10_000);
    const before = posts(browser);
    await browser.peer.becomes("failed");
    await browser.passes(150);
    assert.equal(posts(browser), before + 1);
  });
});

describe("the page and its network", () => {
  test("a page that goes away ends its session, and opens one when it comes back", async () => {
    const { browser, connection } = await connected();
    await browser.fire("pagehide");
    assert.deepEqual(browser.sent(), ["POST /whep/demo", "DELETE /whep/demo/1"]);
    await browser.passes(60_000);
    assert.equal(posts(browser), 1);
    await browser.fire("pageshow", { persisted: true });
    assert.equal(posts(browser), 2);
    await browser.peer.becomes("connected");
    assert.equal(connection.state, "connected");
  });

  test("a page that comes back opens no session where it had none", async () => {
    const { browser, connection } = start({ post: () => refused(403) });
    await settled();
    await browser.fire("pagehide");
    await browser.fire("pageshow", { persisted: true });
    assert.equal(posts(browser), 1);
    assert.equal(connection.state, "refused");
  });

  test("a connection stopped and started while the page was away opens one session", async () => {
    const { browser, connection } = await connected();
    await browser.fire("pagehide");
    connection.stop();
    connection.start();
    await browser.fire("pageshow", { persisted: true });
    assert.equal(posts(browser), 2);
  });

  test("a network that is back, or a page that is looked at again, ends a wait", async () => {
    for (const name of ["online", "visibilitychange"] as const) {
      const { browser } = start({ post: unreachable });
      await browser.passes(9_000);
      const before = posts(browser);
      await browser.fire(name);
      assert.equal(posts(browser), before + 1, name);
    }
  });

  test("a page that is shown while an attempt is under way does not begin another", async () => {
    const { browser } = start({ post: unreachable });
    await browser.passes(9_000);
    const before = posts(browser);
    browser.isHidden = true;
    await browser.fire("visibilitychange");
    assert.equal(posts(browser), before);

    const other = start({ post: (_, count) => (count === 1 ? unreachable() : never()) });
    await other.browser.passes(150);
    assert.equal(posts(other.browser), 2);
    await other.browser.fire("visibilitychange");
    assert.equal(posts(other.browser), 2);
  });

  test("a network that is back does not end a wait that the server asked for", async () => {
    for (const name of ["online", "visibilitychange"] as const) {
      const { browser } = start({ post: () => refused(429, { retryAfter: "30" }) });
      await browser.passes(1_000);
      await browser.fire(name);
      await browser.passes(28_000);
      assert.equal(posts(browser), 1, name);
      await browser.passes(2_000);
      assert.equal(posts(browser), 2, name);
    }
  });

  test("a network that is back while ICE is disconnected restarts ICE at once", async () => {
    const { browser } = await connected();
    await browser.peer.becomes("disconnected");
    await browser.fire("online");
    assert.deepEqual(browser.sent("PATCH"), ["PATCH /whep/demo/1"]);
    await browser.passes(2_000);
    assert.deepEqual(browser.sent("PATCH"), ["PATCH /whep/demo/1"]);
  });

  test("nothing happens after stop()", async () => {
    const { browser, connection } = start({ post: unreachable });
    await browser.passes(1_000);
    connection.stop();
    const before = posts(browser);
    await browser.fire("online");
    await browser.fire("visibilitychange");
    await browser.fire("pagehide");
    await browser.fire("pageshow", { persisted: true });
    await browser.passes(60_000);
    assert.equal(posts(browser), before);
    assert.equal(connection.state, "idle");
  });
});
