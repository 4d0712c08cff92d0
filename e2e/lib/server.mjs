/** A Nowcast server of its own for each test file: on free ports, on loopback, in an empty directory. */

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Child } from "./child.mjs";
import { until } from "./until.mjs";

/** The binary under test; `NOWCAST_BIN` names another one. */
export const NOWCAST = process.env.NOWCAST_BIN ?? fileURLToPath(new URL("../../target/release/nowcast", import.meta.url));

export class Server {
  /**
   * Starts one. `dev: false` is a server with keys; `loopback: false` offers media on the machine's other addresses too, for
   * clients that do not use loopback; `env` sets options.
   */
  static async start({ dev = true, loopback = true, env = {} } = {}) {
    if (!existsSync(NOWCAST)) throw new Error(`${NOWCAST} is missing: build it first`);
    const directory = mkdtempSync(join(tmpdir(), "nowcast-e2e-"));
    const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("NOWCAST_")));
    const child = new Child(NOWCAST, ["serve", ...(dev ? ["--dev"] : []), ...(loopback ? ["--loopback"] : [])], {
      cwd: directory,
      env: {
        ...inherited,
        NOWCAST_HTTP_LISTEN: "127.0.0.1:0",
        NOWCAST_MEDIA_UDP_PORT: "0",
        // One address plays all viewers, and reloads its pages over and over.
        NOWCAST_LIMITS_NEW_SESSIONS_PER_IP: "0",
        ...env,
      },
    });
    const server = new Server();
    server.child = child;
    server.directory = directory;
    server.url = await until("the server says that it is ready", () => {
      if (child.exit) throw new Error(`nowcast ended at once:\n${child.tail()}`);
      return /watch\s+(https?:\/\/[^/\s]+)(?:\/\S+)?\/watch/.exec(child.output)?.[1];
    });
    return server;
  }

  get pid() {
    return this.child.pid;
  }

  page(kind, stream, query = {}, token = null) {
    const url = new URL(`/${kind}/${stream}`, this.url);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    if (token) url.hash = `token=${token}`;
    return url.href;
  }

  /** One size, unless asked for more: software encoders share the cores with everything else here. */
  publishPage(stream, query = {}, token = null) {
    return this.page("publish", stream, { source: "test", autostart: "1", simulcast: "0", ...query }, token);
  }

  watchPage(stream, query = {}, token = null) {
    return this.page("watch", stream, query, token);
  }

  /** What the API says about a stream; `null` if there is no such stream. */
  async stream(name, token = null) {
    const response = await this.fetch(`/api/v1/streams/${name}`, { token });
    return response.status === 404 ? null : await response.json();
  }

  async fetch(path, { token = null, headers = {}, ...init } = {}) {
    const authorization = token ? { Authorization: `Bearer ${token}` } : {};
    return await fetch(new URL(path, this.url), { headers: { ...headers, ...authorization }, signal: AbortSignal.timeout(30_000), ...init });
  }

  /** Ends it and cleans up. Returns how it ended. */
  async stop() {
    const exit = await this.child.stop();
    rmSync(this.directory, { recursive: true, force: true });
    return exit;
  }
}

/** A token as `nowcast token` prints it. */
export function token({ key, secret, stream, publish, watch, admin }) {
  const flags = Object.entries({ publish, watch, admin }).filter(([, on]) => on).map(([name]) => `--${name}`);
  const args = ["token", "--key", key, ...(stream ? ["--stream", stream] : []), ...flags];
  return execFileSync(NOWCAST, args, { encoding: "utf8", env: { ...process.env, NOWCAST_SECRET: secret } }).trim();
}
