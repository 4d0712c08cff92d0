/** Programs that tests start: each is ended by its own process id, also when the test process ends first. */

import { spawn } from "node:child_process";

const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

/** How much of what a program says is kept for error messages. */
const KEPT = 64 * 1024;

export class Child {
  /** `{ code, signal }` once it has ended. */
  exit = null;
  /** The end of the output on both channels. */
  output = "";

  constructor(command, args, options = {}) {
    this.process = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    running.add(this.process);
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding("utf8").on("data", (text) => (this.output = (this.output + text).slice(-KEPT)));
    }
    // A pipe that breaks because the program ended is told by its exit.
    this.process.stdin?.on("error", () => {});
    this.ended = new Promise((resolve) => {
      const end = (exit) => {
        running.delete(this.process);
        this.exit ??= exit;
        resolve(this.exit);
      };
      this.process.on("error", (error) => end({ code: null, signal: null, error }));
      this.process.on("close", (code, signal) => end({ code, signal }));
    });
  }

  get pid() {
    return this.process.pid;
  }

  /** Asks it to end; insists after `patience`. Returns how it ended. */
  async stop(signal = "SIGTERM", patience = 15_000) {
    if (this.exit) return this.exit;
    this.process.kill(signal);
    const insist = setTimeout(() => this.process.kill("SIGKILL"), patience);
    const exit = await this.ended;
    clearTimeout(insist);
    return exit;
  }

  /** The last lines it said. */
  tail(lines = 25) {
    return this.output.split("\n").slice(-lines).join("\n");
  }
}
