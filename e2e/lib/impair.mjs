/** A bad network: the relay of crates/impair between a server and the clients that get its address. */

import { createSocket } from "node:dgram";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Child } from "./child.mjs";
import { inTime, until } from "./until.mjs";

/** The relay; `IMPAIR_BIN` names another one. */
export const IMPAIR = process.env.IMPAIR_BIN ?? fileURLToPath(new URL("../../target/release/impair", import.meta.url));

export class Impair {
  #answers = [];
  #waiting = [];

  /**
   * Starts a relay to a UDP port of this machine. `up` and `down` are scripts, such as "delay=25ms loss=1%" (docs/impair.md);
   * with `shared` all clients go through one link each way.
   */
  static async start(serverPort, { up = "", down = "", shared = false, seed = 1 } = {}) {
    if (!existsSync(IMPAIR)) throw new Error(`${IMPAIR} is missing: build it first (cargo build --release -p impair)`);
    const args = ["relay", "--to", `127.0.0.1:${serverPort}`, "--up", up, "--down", down, "--seed", String(seed), "--control"];
    const impair = new Impair();
    impair.child = new Child(IMPAIR, [...args, ...(shared ? ["--shared"] : [])], { stdio: ["pipe", "pipe", "pipe"] });
    createInterface(impair.child.process.stdout).on("line", (line) => impair.#hear(JSON.parse(line)));
    const { listening } = await impair.#next("impair says where it listens");
    impair.address = listening;
    impair.port = Number(listening.split(":").at(-1));
    return impair;
  }

  /** Says a line: `down rate=500k`, `both delay=25ms`, `reset`. Returns the answer. */
  async tell(line) {
    const answer = this.#next(`impair answers “${line}”`);
    this.child.process.stdin.write(`${line}\n`);
    const said = await answer;
    if (said.error) throw new Error(`impair: ${said.error}`);
    return said;
  }

  /** Returns the counters since the start or the last `reset`. */
  async stats() {
    return await this.tell("stats");
  }

  async stop() {
    return await this.child.stop();
  }

  #hear(answer) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(answer);
    else this.#answers.push(answer);
  }

  async #next(what) {
    if (this.#answers.length > 0) return this.#answers.shift();
    const answer = new Promise((resolve) => this.#waiting.push(resolve));
    const ended = this.child.ended.then(() => {
      throw new Error(`impair ended: ${this.child.tail()}`);
    });
    return await inTime(what, 30_000, Promise.race([answer, ended]));
  }
}

/** Returns a UDP port that is free at the moment. */
export async function freeUdpPort() {
  const socket = createSocket("udp4");
  await new Promise((resolve, reject) => socket.once("error", reject).bind(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  await new Promise((resolve) => socket.close(resolve));
  return port;
}

/** The UDP port of a server that chose its own. */
export async function mediaPort(server) {
  return Number(await until("the server says its media port", () => /media plane is up\W+port\D+(\d+)/.exec(server.child.output)?.[1]));
}

/**
 * Lets the connections of a page that is opened next go through a relay, whatever addresses the server names; others still go
 * straight. `window.peers` are the page's connections, also without a relay.
 */
export async function goThrough(page, impair = null) {
  await page.addInitScript((port) => {
    window.peers = [];
    const { setRemoteDescription } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.setRemoteDescription = function (description) {
      if (!window.peers.includes(this)) window.peers.push(this);
      if (port === null) return setRemoteDescription.call(this, description);
      const lines = description.sdp.split("\r\n").flatMap((line) => {
        if (!line.startsWith("a=candidate:")) return [line];
        const words = line.split(" ");
        // Address and port are the fifth and sixth (RFC 8839 §5.1).
        if (words[4] !== "127.0.0.1") return [];
        words[5] = String(port);
        return [words.join(" ")];
      });
      return setRemoteDescription.call(this, { type: description.type, sdp: lines.join("\r\n") });
    };
  }, impair?.port ?? null);
}
