/** aiortc, which is neither a browser nor ours: as a viewer with each family of SRTP profiles, and as a publisher. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { ask, onAir, openPage, stage, watchState } from "../lib/browser.mjs";
import { Child } from "../lib/child.mjs";
import { installPython, PYTHON } from "../lib/python.mjs";
import { inTime, until } from "../lib/until.mjs";

const PEER = fileURLToPath(new URL("../lib/aiortc_peer.py", import.meta.url));

const peer = (what, endpoint, ...more) => new Child(PYTHON, [PEER, what, endpoint, ...more], { stdio: ["pipe", "pipe", "pipe"] });
const said = (child) => {
  const line = child.output.split("\n").find((each) => each.startsWith("{"));
  return line ? JSON.parse(line) : null;
};

describe("aiortc", () => {
  const here = stage({ before, after });
  before(() => installPython());

  for (const [srtp, codec] of [["cm", "VP8"], ["gcm", "VP8"], ["cm", "H264"]]) {
    test(`watches ${codec} by WHEP, SRTP with AES-${srtp.toUpperCase()}`, async () => {
      const { server, browser } = here;
      const stream = `py-${srtp}-${codec.toLowerCase()}`;
      const publisher = await openPage(browser, server.publishPage(stream, { codec, res: "360", fps: "30" }));
      await onAir(publisher);
      const viewer = peer("watch", `${server.url}/whep/${stream}`, "--srtp", srtp);
      try {
        await inTime("aiortc is done", 60_000, viewer.ended);
        const report = said(viewer);
        assert.ok(report, viewer.tail());
        assert.ok(report.video >= 50, `decoded ${report.video} pictures: ${JSON.stringify(report)}\n${viewer.tail()}`);
        assert.ok(report.audio >= 50, `decoded ${report.audio} pieces of sound`);
        assert.deepEqual(report.sizes.at(-1), [640, 360]);
        assert.equal(report.delete, 200);
        console.log(`aiortc, AES-${srtp.toUpperCase()}, ${codec}: ${report.video} pictures, ${report.audio} pieces of sound in ${report.seconds} s`);
      } finally {
        await viewer.stop();
        await publisher.end();
      }
    });
  }

  for (const codec of ["VP8", "H264"]) {
    test(`publishes ${codec} by WHIP, and Chromium watches`, async () => {
      const { server, browser } = here;
      const stream = `from-py-${codec.toLowerCase()}`;
      const publisher = peer("publish", `${server.url}/whip/${stream}`, "--codec", codec);
      try {
        await until("aiortc is connected", () => {
          if (publisher.exit) throw new Error(publisher.tail());
          return said(publisher)?.connection === "connected";
        }, { describe: () => publisher.tail() });
        const viewer = await openPage(browser, server.watchPage(stream));
        await watchState(viewer, "live");
        await until("pictures are decoded", async () => ((await ask(viewer, "stats"))?.frameRate ?? 0) > 5);
        const stats = await ask(viewer, "stats");
        assert.equal(stats.codec, codec);
        assert.deepEqual([stats.width, stats.height], [320, 240]);
        assert.equal((await server.stream(stream)).video.codec, codec);
        publisher.process.stdin.end();
        await watchState(viewer, "paused");
        assert.deepEqual(viewer.complaints, []);
        await viewer.end();
      } finally {
        await publisher.stop();
      }
    });
  }

  for (const role of ["active", "passive"]) {
    test(`publishes and watches with RSA certificates, ${role} in DTLS`, async () => {
      const { server } = here;
      const stream = `rsa-${role}`;
      const options = role === "passive" ? ["--rsa", "--passive"] : ["--rsa"];
      const publisher = peer("publish", `${server.url}/whip/${stream}`, ...options);
      try {
        await until("aiortc is connected", () => {
          if (publisher.exit) throw new Error(publisher.tail());
          return said(publisher)?.connection === "connected";
        }, { describe: () => publisher.tail() });
        const viewer = peer("watch", `${server.url}/whep/${stream}`, ...options);
        try {
          await inTime("aiortc is done", 60_000, viewer.ended);
          const report = said(viewer);
          assert.ok(report?.video >= 50, `${JSON.stringify(report)}\n${viewer.tail()}`);
        } finally {
          await viewer.stop();
        }
        publisher.process.stdin.end();
      } finally {
        await publisher.stop();
      }
    });
  }
});
