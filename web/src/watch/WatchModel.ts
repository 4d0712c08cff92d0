import type { StreamStatus, ViewerReport } from "../client/Api";
import type { ConnectionState } from "../client/LiveConnection";
import type { Problem } from "../client/Problem";
import * as format from "../ui/format";
import { watchState, type WatchState } from "./watchState";
import { attemptWords, pictureWords, stateWords, warningWords, wordsFor } from "./words";

/** The contents of the watch page at one moment. */
export interface WatchView {
  state: WatchState;
  /** Words over the picture; empty while it plays. */
  title: string;
  text: string;
  canTryAgain: boolean;
  /**
   * Whether a picture has been shown since the page was opened: it stays behind the words, dimmed.
   */
  hasPicture: boolean;
  isSoundOnly: boolean;
  isLive: boolean;
  /** Number beside the eye; `null`: no number is shown. */
  viewers: number | null;
  /** The line below the stream's name. */
  about: string;
}

/** Time to the first frame in ms, from two starting points. */
export interface FirstFrame {
  sinceNavigationMs: number;
  sincePostMs: number;
}

/**
 * Decides what the watch page shows, from the connection, the server's status and report, and the
 * frames on screen.
 *
 * Has no DOM and no clock: times are handed in, `now` in ms since the page was opened.
 */
export class WatchModel {
  #connection: ConnectionState = "idle";
  #problem: Problem | null = null;
  #status: StreamStatus | null = null;
  #statusAt = 0;
  #report: ViewerReport | null = null;
  /** Time of the last frame; 0 before the first. */
  #frameAt = 0;
  #firstFrame: FirstFrame | null = null;
  #state: WatchState = "connecting";
  /** The publisher's session that the server ended. */
  #endedSession: string | null = null;
  /** The codec that the server refused to send to this browser. */
  #refusedCodec: string | null = null;

  get state(): WatchState {
    return this.#state;
  }

  get status(): StreamStatus | null {
    return this.#status;
  }

  get firstFrame(): FirstFrame | null {
    return this.#firstFrame;
  }

  handleConnection(connection: ConnectionState, problem: Problem | null): void {
    if (connection === "ended") this.#endedSession = this.#status?.publisher?.session ?? null;
    this.#connection = connection;
    this.#problem = problem;
    this.#update();
  }

  /**
   * Takes a status. Returns whether the connection is to be started again: its refusal or end has
   * lost its reason.
   */
  handleStatus(status: StreamStatus, now: number): boolean {
    this.#status = status;
    this.#statusAt = now;
    this.#update();
    return status.state === "live" && this.#isWorthAnotherTry(status);
  }

  handleReport(report: ViewerReport | null): void {
    this.#report = report;
    this.#update();
  }

  /**
   * Takes a frame that is shown at `now`. `postedAt`: the time at which the session was asked for.
   */
  handleFrame(now: number, postedAt: number | null): void {
    this.#frameAt = now;
    this.#firstFrame ??= { sinceNavigationMs: now, sincePostMs: now - (postedAt ?? 0) };
    if (this.#state !== "live") this.#update();
  }

  /** `unixMs`: the wall clock. `height`: lines of the picture on screen, 0 where there is none. */
  view(unixMs: number, height: number): WatchView {
    const state = this.#state;
    const words = wordsFor(state, this.#problem, this.#status);
    const hasViewers = state === "live" || state === "paused" || state === "waiting";
    return {
      state,
      ...words,
      hasPicture: this.#frameAt > 0,
      isSoundOnly:
        state === "live" && this.#status !== null && !this.#status.video && this.#frameAt === 0,
      isLive: state === "live",
      viewers: hasViewers ? this.#status?.viewers || null : null,
      about: this.#about(unixMs, height),
    };
  }

  #update(): void {
    const next = watchState({
      connection: this.#connection,
      problem: this.#problem,
      status: this.#status,
      statusAt: this.#statusAt,
      frameAt: this.#frameAt,
      report: this.#report,
    });
    // The picture on screen is of the codec before.
    if (next === "unsupported" && this.#state === "live") this.#frameAt = 0;
    this.#state = next;
  }

  /**
   * Another publisher may send what the last did not, and another codec may be one that this
   * browser plays.
   */
  #isWorthAnotherTry({ publisher, video }: StreamStatus): boolean {
    if (this.#connection === "ended")
      return publisher != null && publisher.session !== this.#endedSession;
    if (this.#connection !== "refused" || this.#problem?.status !== 406) {
      this.#refusedCodec = null;
      return false;
    }
    this.#refusedCodec = this.#problem.codec ?? this.#refusedCodec ?? video?.codec ?? null;
    return video != null && video.codec !== this.#refusedCodec;
  }

  #about(unixMs: number, height: number): string {
    const status = this.#status;
    const isWaited = this.#state === "waiting" || this.#state === "paused";
    const attempt = isWaited ? attemptWords(status) : "";
    if (attempt) return `${stateWords(this.#state)} · ${attempt}`;
    if (this.#state !== "live" && this.#state !== "paused") return stateWords(this.#state);
    const since = this.#state === "live" ? status?.live_since_ms : null;
    const facts = [
      this.#state === "live" ? warningWords(status) : "",
      since ? `live for ${format.duration(unixMs - since)}` : stateWords(this.#state),
      pictureWords(height || status?.video?.height || null, this.#report),
      status?.video ? format.codec(status.video.codec) : "",
    ];
    return facts.filter(Boolean).join(" · ");
  }
}
