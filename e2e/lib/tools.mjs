/** Clients that are programs: each is a publisher or a viewer in a process of its own, and prints its observations as a line of JSON. */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Child } from "./child.mjs";
import { RtpSource } from "./rtp_source.mjs";
import { inTime, until } from "./until.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
/** Debian's Python: the bindings of GStreamer belong to it. */
const SYSTEM_PYTHON = "/usr/bin/python3";

/** What a program said: its only line of JSON. */
export function said(child) {
  const line = child.output.split("\n").find((each) => each.startsWith("{"));
  return line ? JSON.parse(line) : null;
}

class Tool {
  #command;
  #needsRtp;

  /** `needsRtp`: it has no encoder, and is given RTP to send. */
  constructor(name, command, { needsRtp = false } = {}) {
    this.name = name;
    this.#command = command;
    this.#needsRtp = needsRtp;
  }

  #start(args, env) {
    const [program, ...before] = this.#command;
    return new Child(program, [...before, ...args], { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } });
  }

  /** Publishes, and waits until the API calls the stream live with `codec`. `stop()` ends it. */
  async publish(server, stream, codec, { args = [], env } = {}) {
    const endpoint = `${server.url}/whip/${stream}`;
    const source = this.#needsRtp ? await RtpSource.open() : null;
    const from = source ? [codec, String(source.videoPort), String(source.audioPort)] : ["--codec", codec];
    const child = this.#start(["publish", endpoint, ...from, ...args], env);
    source?.start(codec);
    const status = await until(
      `${this.name} publishes ${codec}`,
      async () => {
        if (child.exit) return { ended: child.tail() };
        const status = await server.stream(stream);
        return said(child)?.connection === "connected" && status?.state === "live" && status.video?.height && status.audio ? status : null;
      },
      { within: 45_000, describe: async () => `${child.tail()} ${JSON.stringify(await server.stream(stream))}` },
    )
      .then((status) => {
        if (status.ended) throw new Error(`${this.name} ended: ${status.ended}`);
        return status;
      })
      .catch(async (error) => {
        await child.stop();
        await source?.stop();
        throw error;
      });
    const stop = async () => {
      child.process.stdin.end();
      const exit = await inTime(`${this.name} ends its session`, 15_000, child.ended).catch(() => child.stop());
      await source?.stop();
      if (exit.code !== 0) throw new Error(`${this.name} failed: ${JSON.stringify(exit)} ${child.tail()}`);
    };
    return { status, stop };
  }

  /** Watches until the program has seen the expected media, and returns its line of JSON. */
  async watch(server, stream, args, env) {
    const child = this.#start(["watch", `${server.url}/whep/${stream}`, ...args], env);
    try {
      const { code } = await inTime(`${this.name} is done`, 50_000, child.ended);
      if (code !== 0) throw new Error(`${this.name} failed: ${child.tail()}`);
      return said(child);
    } finally {
      await child.stop();
    }
  }
}

export const GSTREAMER = new Tool("GStreamer", [SYSTEM_PYTHON, here("gst_peer.py")]);
export const LIBDATACHANNEL = new Tool("libdatachannel", [process.execPath, here("libdatachannel_peer.mjs")], { needsRtp: true });

const PION_SOURCE = here("../pion");
const PION_BINARY = here("../out/pion");
export const PION = new Tool("Pion", [PION_BINARY], { needsRtp: true });

/** Builds the program with Pion. Returns why that cannot be, or `false`. */
export function lacksPion() {
  try {
    execFileSync("go", ["build", "-o", PION_BINARY, "."], { cwd: PION_SOURCE, stdio: ["ignore", "ignore", "pipe"], timeout: 600_000 });
    return false;
  } catch (error) {
    if (error.code === "ENOENT") return "Pion needs Go 1.24 or later (https://go.dev/dl/)";
    return `Pion cannot be built: ${String(error.stderr ?? error.message).trim().split("\n").at(-1)}`;
  }
}

/** Why GStreamer cannot be tried, or `false`. */
export function lacksGStreamer() {
  if (!existsSync(SYSTEM_PYTHON)) return `GStreamer needs ${SYSTEM_PYTHON}`;
  try {
    execFileSync(SYSTEM_PYTHON, [here("gst_peer.py"), "--elements"], { stdio: ["ignore", "ignore", "pipe"] });
    return false;
  } catch (error) {
    return `GStreamer or its Python bindings are missing: ${String(error.stderr).trim().split("\n").at(-1)}`;
  }
}
