import assert from "node:assert/strict";
import { test } from "node:test";
import { iceServersFromLink, linkTo } from "../src/client/LinkHeader";

test("the example of RFC 9725 is read", () => {
  const login = 'username="user"; credential="myPassword"; credential-type="password"';
  const header =
    '<stun:stun.example.net>; rel="ice-server", ' +
    `<turn:turn.example.net?transport=udp>; rel="ice-server"; ${login}, ` +
    `<turns:turn.example.net?transport=tcp>; rel="ice-server"; ${login}`;
  const turn = { username: "user", credential: "myPassword" };
  assert.deepEqual(iceServersFromLink(header), [
    { urls: "stun:stun.example.net" },
    { urls: "turn:turn.example.net?transport=udp", ...turn },
    { urls: "turns:turn.example.net?transport=tcp", ...turn },
  ]);
});

test("commas, semicolons and quotes inside quotes belong to the value", () => {
  const [server] = iceServersFromLink(
    '<turn:a>; rel="ice-server"; username="a,b;c\\"d"; credential="x\\\\y"',
  );
  assert.deepEqual(server, { urls: "turn:a", username: 'a,b;c"d', credential: "x\\y" });
});

test("other relations and other schemes are left out", () => {
  assert.deepEqual(
    iceServersFromLink('<https://a/>; rel="next", <https://b/>; rel="ice-server"'),
    [],
  );
  assert.deepEqual(iceServersFromLink("<stun:a>; rel=ice-server"), [{ urls: "stun:a" }]);
  assert.deepEqual(iceServersFromLink("<stun:a>; REL=ICE-SERVER"), [{ urls: "stun:a" }]);
  assert.deepEqual(iceServersFromLink("<stun:a>; rel=other"), []);
});

test("nonsense gives nothing", () => {
  for (const header of [
    null,
    "",
    ",",
    "<",
    '"',
    "<stun:a",
    ";;;,<>;rel=ice-server",
    "stun:a; rel=ice-server",
  ]) {
    assert.deepEqual(iceServersFromLink(header), [], String(header));
  }
});

test("an extension's address is found by its relation", () => {
  const header =
    '<stun:a>; rel="ice-server", </whep/demo/1/sse>; rel="urn:x:events"; events="active,layers", ' +
    '</b>; rel="urn:x:events"';
  assert.equal(linkTo("urn:x:events", header), "/whep/demo/1/sse");
  assert.equal(linkTo("urn:x:layer", header), null);
  assert.equal(linkTo("urn:x:layer", null), null);
});
