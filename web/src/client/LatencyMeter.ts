import type { MediumLayers, SentReport, ViewerReport } from "./Api";
import { thisBrowser, type Browser } from "./Browser";
import { localNow } from "./ServerClock";

type CaptureClock = Pick<SentReport, "rtp_timestamp" | "captured_at_ms" | "clock_rate">;

/**
 * Returns the server's time at which the picture with this RTP timestamp was captured; `null` if
 * that is not known.
 */
export function capturedAt(frameRtp: number, report: CaptureClock): number | null {
  if (report.captured_at_ms == null || report.clock_rate <= 0) return null;
  // RTP timestamps wrap: `| 0` takes the difference as a signed 32-bit number.
  const ticks = (frameRtp - report.rtp_timestamp) | 0;
  return report.captured_at_ms + (ticks / report.clock_rate) * 1000;
}

/**
 * A delay below zero by up to this much is an error of the clock comparison. A guess: half of an
 * uneven round trip.
 */
const UNCERTAIN_MS = 50;
/**
 * A longer delay means that the publisher's clock is wrong. The server's bound is the same
 * (`sfu/src/clock.rs`).
 */
const LONGEST_MS = 60_000;

/**
 * Returns a delay that is possible: never below zero, and `null` where one of the clocks must be
 * wrong.
 */
export function plausibleDelay(ms: number): number | null {
  if (!(ms >= -UNCERTAIN_MS && ms <= LONGEST_MS)) return null;
  return Math.max(0, ms);
}

/** The parts of a connection that its delay is measured by. */
export interface MeasuredClient {
  readonly state: string;
  readonly session: { report(): Promise<unknown> } | null;
}

/** The parts of {@link ServerClock} that a delay is measured by. */
export interface MeasuringClock {
  readonly isSet: boolean;
  now(localMs: number): number;
  set(): Promise<void>;
}

const POLL_MS = 2_000;
/**
 * Where events report changes, polls serve the delay alone: the publisher's clock drifts by some ms
 * a minute.
 */
const QUIET_POLL_MS = 10_000;
/** Time from the start of a picture until its capture clock is known. A guess with room. */
const SETTLED_MS = 5_000;
/**
 * Time between questions for the server's time: the clocks of two machines drift by some ms a
 * minute.
 */
const CLOCK_MS = 30_000;
/** Frames whose median is the delay that is shown: half a second at 30 fps. */
const WINDOW = 15;
/** Without a frame for this long there is no present delay. A guess. */
const STALE_MS = 2_000;

/**
 * Measures the glass-to-glass delay: from the camera of the publisher to the screen of this viewer.
 *
 * The server reports the capture time of one RTP timestamp, the browser the RTP timestamp of the
 * frame on screen.
 */
export class LatencyMeter {
  /** Called when the server does not know the session any more. */
  onlost: () => void = () => {};
  /** Whether events report changes of the session, which {@link LatencyMeter.tell} is given. */
  isTold: () => boolean = () => false;

  readonly #client: MeasuredClient;
  readonly #clock: MeasuringClock;
  readonly #browser: Browser;
  #report: ViewerReport | null = null;
  #recent: number[] = [];
  #lastAt = 0;
  #polledAt = 0;
  #startedAt = 0;
  /** The session whose answer is still to come. */
  #asking: MeasuredClient["session"] = null;

  constructor(client: MeasuredClient, clock: MeasuringClock, browser: Browser = thisBrowser) {
    this.#client = client;
    this.#clock = clock;
    this.#browser = browser;
  }

  /** Measures for as long as the page is open. */
  start(): void {
    void this.#clock.set();
    this.#every(POLL_MS, () => void (this.#isDue() && this.#poll()));
    this.#every(CLOCK_MS, () => void this.#clock.set());
  }

  /** Forgets the last connection and asks for a report now. Call when a connection has come up. */
  refresh(): void {
    this.#report = null;
    this.#recent = [];
    this.restart();
  }

  /** Asks for a report now. Call when another publisher, with another clock, may have begun. */
  restart(): void {
    this.#startedAt = this.#browser.now();
    void this.#poll();
  }

  /** Takes what an event reports of the video that is sent. */
  tell({ current, reason, carriedBitrate }: MediumLayers): void {
    const { video, transport } = this.#report ?? {};
    if (video && current) video.layer = current.encodingId;
    if (video && reason) video.reason = reason;
    if (transport && carriedBitrate != null) transport.estimate_bps = carriedBitrate;
  }

  /** The server's last report on the session. */
  get report(): ViewerReport | null {
    return this.#report;
  }

  /**
   * The median delay of the last frames in ms; `null` if no picture moves, or for the reason in
   * `unknown`.
   */
  get latencyMs(): number | null {
    const median = this.#median;
    return median === null ? null : plausibleDelay(median);
  }

  /** Why there is no delay, where a clock is the reason. */
  get unknown(): "untold" | "wrong" | null {
    const clock = this.#report?.video?.capture_clock;
    if (clock === "untold" || clock === "wrong") return clock;
    return this.#median !== null && this.latencyMs === null ? "wrong" : null;
  }

  get #median(): number | null {
    if (this.#recent.length === 0 || this.#browser.now() - this.#lastAt > STALE_MS) return null;
    const sorted = [...this.#recent].sort((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? null;
  }

  /** A frame is about to be shown. Call from `requestVideoFrameCallback`. */
  handleFrame(metadata: VideoFrameCallbackMetadata): void {
    if (metadata.rtpTimestamp === undefined || !this.#report?.video || !this.#clock.isSet) return;
    const captured = capturedAt(metadata.rtpTimestamp, this.#report.video);
    if (captured === null) return;
    const { timeOrigin } = this.#browser;
    const shownAt = Math.max(timeOrigin + metadata.expectedDisplayTime, localNow(this.#browser));
    this.#recent.push(this.#clock.now(shownAt) - captured);
    if (this.#recent.length > WINDOW) this.#recent.shift();
    this.#lastAt = this.#browser.now();
  }

  #isDue(): boolean {
    const now = this.#browser.now();
    const isSettled = this.isTold() && now - this.#startedAt > SETTLED_MS;
    // Timers are not exact: half an interval of the timer early is in time.
    return now - this.#polledAt > (isSettled ? QUIET_POLL_MS : POLL_MS) - POLL_MS / 2;
  }

  async #poll(): Promise<void> {
    const session = this.#client.session;
    // A report that takes longer than 2 s is not asked for twice: requests would pile up on a bad
    // network.
    if (!session || session === this.#asking || this.#client.state !== "connected") return;
    this.#asking = session;
    this.#polledAt = this.#browser.now();
    try {
      const report = (await session.report()) as ViewerReport | null;
      if (session !== this.#client.session) return;
      this.#report = report;
      if (report === null) this.onlost();
    } catch {
      // No report this time; the next poll is soon.
    } finally {
      if (this.#asking === session) this.#asking = null;
    }
  }

  #every(ms: number, action: () => void): void {
    this.#browser.setTimeout(() => {
      this.#every(ms, action);
      action();
    }, ms);
  }
}
