import type { MediumLayers, SentReport, ViewerReport } from "./Api";
import { localNow, type ServerClock } from "./ServerClock";
import type { WhepClient } from "./WhepClient";

/** The moment at which the picture with this RTP timestamp was captured, by the server's clock. */
export function capturedAt(frameRtp: number, report: Pick<SentReport, "rtp_timestamp" | "captured_at_ms" | "clock_rate">): number | null {
  if (report.captured_at_ms === null || report.clock_rate <= 0) return null;
  // RTP timestamps wrap: `| 0` takes the difference as a signed 32-bit number.
  const ticks = (frameRtp - report.rtp_timestamp) | 0;
  return report.captured_at_ms + (ticks / report.clock_rate) * 1000;
}

/** Two clocks are compared over a network: below zero by this much is no delay at all. A guess: half of a round trip that is not symmetric. */
const UNCERTAIN_MS = 50;
/** Older pictures are of another clock. As the server judges (`sfu/src/clock.rs`). */
const LONGEST_MS = 60_000;

/** A delay as it can be: never below zero, and `null` where one of the clocks must be wrong. */
export function plausibleDelay(ms: number): number | null {
  if (!(ms >= -UNCERTAIN_MS && ms <= LONGEST_MS)) return null;
  return Math.max(0, ms);
}

const POLL_MS = 2_000;
/** Where changes are told by events, the report is for the delay alone: the clocks of the picture and of the server drift by some ms a minute. */
const QUIET_POLL_MS = 10_000;
/** A new picture's clock is known after this long. A guess with room. */
const SETTLED_MS = 5_000;
/** The clocks of two machines drift by some ms a minute. */
const CLOCK_MS = 30_000;
/** Frames that the shown number is the median of: half a second at 30 fps. */
const WINDOW = 15;

/**
 * Glass-to-glass delay: from the camera of the publisher to the screen of this viewer.
 *
 * The server says when one RTP timestamp was captured, the browser says which RTP timestamp it shows now.
 */
export class LatencyMeter {
  /** The server does not know our session any more. */
  onlost: () => void = () => {};
  /** Whether changes of what is sent are told without being asked for: see {@link LatencyMeter.tell}. */
  isTold: () => boolean = () => false;

  readonly #client: WhepClient;
  readonly #clock: ServerClock;
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  #report: ViewerReport | null = null;
  #recent: number[] = [];
  #lastAt = 0;
  #polledAt = 0;
  #startedAt = 0;

  constructor(client: WhepClient, clock: ServerClock) {
    this.#client = client;
    this.#clock = clock;
  }

  start(): void {
    void this.#clock.set();
    this.#timers.push(setInterval(() => void (this.#isDue() && this.#poll()), POLL_MS), setInterval(() => void this.#clock.set(), CLOCK_MS));
  }

  stop(): void {
    this.#timers.splice(0).forEach(clearInterval);
  }

  /** Asks for a report now: after a connection came up. */
  refresh(): void {
    this.#report = null;
    this.#recent = [];
    this.restart();
  }

  /** The publisher may be another one, with another clock. */
  restart(): void {
    this.#startedAt = performance.now();
    void this.#poll();
  }

  /** The server said what it sends to us. */
  tell({ current, reason, carriedBitrate }: MediumLayers): void {
    const { video, transport } = this.#report ?? {};
    if (video && current) video.layer = current.encodingId;
    if (video && reason) video.reason = reason;
    if (transport && carriedBitrate !== null) transport.estimate_bps = carriedBitrate;
  }

  /** What the server last said about our session. */
  get report(): ViewerReport | null {
    return this.#report;
  }

  /** Median delay over the last frames in milliseconds; `null` when no picture is moving, or nothing is known: see {@link LatencyMeter.unknown}. */
  get latencyMs(): number | null {
    const median = this.#median;
    return median === null ? null : plausibleDelay(median);
  }

  /** Why there is no delay to show, as far as clocks are to blame. */
  get unknown(): "untold" | "wrong" | null {
    const clock = this.#report?.video?.capture_clock;
    if (clock === "untold" || clock === "wrong") return clock;
    return this.#median !== null && this.latencyMs === null ? "wrong" : null;
  }

  get #median(): number | null {
    if (this.#recent.length === 0 || localNow() - this.#lastAt > 2_000) return null;
    const sorted = [...this.#recent].sort((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? null;
  }

  /** A frame is about to be shown. Call from `requestVideoFrameCallback`. */
  handleFrame(metadata: VideoFrameCallbackMetadata): void {
    if (metadata.rtpTimestamp === undefined || !this.#report?.video || !this.#clock.isSet) return;
    const captured = capturedAt(metadata.rtpTimestamp, this.#report.video);
    if (captured === null) return;
    const shownAt = performance.timeOrigin + Math.max(metadata.expectedDisplayTime, performance.now());
    this.#recent.push(this.#clock.now(shownAt) - captured);
    if (this.#recent.length > WINDOW) this.#recent.shift();
    this.#lastAt = localNow();
  }

  #isDue(): boolean {
    const now = performance.now();
    const isSettled = this.isTold() && now - this.#startedAt > SETTLED_MS;
    // Timers are not exact: half an interval of the timer early is in time.
    return now - this.#polledAt > (isSettled ? QUIET_POLL_MS : POLL_MS) - POLL_MS / 2;
  }

  async #poll(): Promise<void> {
    const session = this.#client.session;
    if (!session || this.#client.state !== "connected") return;
    this.#polledAt = performance.now();
    try {
      const report = (await session.report()) as ViewerReport | null;
      if (session !== this.#client.session) return;
      if (report === null) this.onlost();
      this.#report = report;
    } catch {
      // The next poll may fare better.
    }
  }
}
