// What do others get while some clients flood or read slowly? Prints figures; asserts nothing.
//
//   node e2e/floods.mjs http://127.0.0.1:7880 [seconds] [kind...]
//
// Loopback only. Kinds: none ping settings headers continuation empty-data window-update priority rst slow-readers.
// The server should run with the limits per address off (--dev), or it refuses most of these connections first.

import http from "node:http";
import net from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const [base = "http://127.0.0.1:7880", seconds = "5", ...kinds] = isMainThread ? process.argv.slice(2) : workerData;
const { hostname, port } = new URL(base);
if (!["127.0.0.1", "localhost", "[::1]"].includes(hostname)) throw new Error("only against this machine");

const FLOODERS = 32;
const SLOW_READERS = 1_000;
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

// GET http://x/healthz in HPACK: indexed fields and two literals.
const REQUEST = Buffer.concat([Buffer.from([0x82, 0x86, 0x04, 8]), Buffer.from("/healthz"), Buffer.from([0x01, 1]), Buffer.from("x")]);
const four = (value) => Buffer.from([0, 0, 0, value]);

/** The n-th frame of a flood. */
const FRAMES = {
  ping: () => frame(6, 0, 0, Buffer.alloc(8)),
  settings: () => frame(4, 0, 0),
  headers: (n) => frame(1, 5, 2 * n + 1, REQUEST),
  continuation: (n) => (n === 0 ? frame(1, 1, 1, REQUEST) : frame(9, 0, 1)),
  "empty-data": (n) => (n === 0 ? frame(1, 4, 1, REQUEST) : frame(0, 0, 1)),
  "window-update": () => frame(8, 0, 0, four(1)),
  priority: () => frame(2, 0, 1, Buffer.from([0, 0, 0, 0, 1])),
  rst: (n) => (n % 2 === 0 ? frame(1, 5, n + 1, REQUEST) : frame(3, 0, n, four(8))),
};

const totals = { frames: 0, connections: 0, goaways: 0 };
let running = false;

function flood(kind) {
  const socket = net.connect(port, hostname);
  totals.connections += 1;
  let n = 0;
  const next = () => {
    const frames = [];
    for (let i = 0; i < 500; i++) frames.push(FRAMES[kind](n++));
    return Buffer.concat(frames);
  };
  const pump = () => {
    // One chunk at a time, and a turn of the event loop between them, so that every flooder has its turn.
    if (!running || socket.destroyed) return socket.destroy();
    totals.frames += 500;
    if (socket.write(next())) setImmediate(pump);
  };
  socket.on("connect", () => (socket.write(Buffer.concat([PREFACE, frame(4, 0, 0)])), pump()));
  socket.on("drain", pump);
  socket.on("data", (data) => {
    if (data.subarray(-17).readUInt8(3) === 7 && data.length >= 17) totals.goaways += 1;
  });
  socket.on("error", () => {});
  // Comes again after a moment, as an attacker does.
  socket.on("close", () => running && setTimeout(flood, 50, kind));
}

/** Asks for much and reads a few bytes a second. */
function readSlowly() {
  const socket = net.connect({ port, host: hostname, highWaterMark: 64 });
  totals.connections += 1;
  socket.on("connect", () => {
    socket.write("GET /api/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(16));
    socket.pause();
    const timer = setInterval(() => (running ? socket.read(16) : (clearInterval(timer), socket.destroy())), 1_000);
  });
  socket.on("error", () => {});
}

/** One request on a connection of its own. Returns its milliseconds, or null where it failed. */
function ask() {
  return new Promise((resolve) => {
    const began = performance.now();
    const request = http.get(`${base}/api/v1/streams`, { agent: false, timeout: 10_000 }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode === 200 ? performance.now() - began : null));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(null));
  });
}

/** The flooding half, in a thread of its own: the work of 1,000 sockets would delay the requests that are measured. */
function floodOnDemand() {
  parentPort.on("message", (kind) => {
    if (kind === null) {
      running = false;
      parentPort.postMessage({ ...totals });
      return;
    }
    Object.assign(totals, { frames: 0, connections: 0, goaways: 0 });
    running = true;
    if (kind === "slow-readers") for (let i = 0; i < SLOW_READERS; i++) readSlowly();
    else if (kind !== "none") for (let i = 0; i < FLOODERS; i++) flood(kind);
  });
}

async function measure(flooders, kind) {
  flooders.postMessage(kind);
  const took = [];
  let failed = 0;
  const until = performance.now() + Number(seconds) * 1_000;
  while (performance.now() < until) {
    const ms = await ask();
    if (ms === null) failed += 1;
    else took.push(ms);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const counted = new Promise((resolve) => flooders.once("message", resolve));
  flooders.postMessage(null);
  const { connections, frames, goaways } = await counted;
  took.sort((a, b) => a - b);
  const at = (share) => took[Math.min(took.length - 1, Math.floor(took.length * share))]?.toFixed(1) ?? "–";
  console.log(
    `${kind.padEnd(14)} others: ${String(took.length).padStart(4)} answered, ${failed} failed, ` +
      `half ${at(0.5)} ms, 99 % ${at(0.99)} ms, most ${at(1)} ms` +
      `   (${connections} connections, ${frames} frames, ${goaways} GOAWAY)`,
  );
  await new Promise((resolve) => setTimeout(resolve, 500));
}

if (isMainThread) {
  const flooders = new Worker(new URL(import.meta.url), { workerData: [base, seconds] });
  const chosen = kinds.length > 0 ? kinds : ["none", ...Object.keys(FRAMES), "slow-readers"];
  for (const kind of chosen) await measure(flooders, kind);
  process.exit(0);
} else {
  floodOnDemand();
}
