import type { StreamStatus } from "../client/Api";
import type { Sending } from "../client/Encodings";
import type { ConnectionState } from "../client/LiveConnection";
import type { Problem } from "../client/Problem";
import type { StatsSample } from "../client/Stats";
import * as format from "../ui/format";
import type { Settings, SourceKind } from "./settings";
import {
  attemptTrouble,
  emptyWords,
  ENDED,
  mediaTrouble,
  sendingWords,
  sizesWords,
  stateWords,
  streamTrouble,
  type Trouble,
} from "./words";

/** The contents of the publish page at one moment. */
export interface PublishView {
  connection: ConnectionState;
  /** The tab that is selected. */
  source: SourceKind;
  stateText: string;
  go: { text: string; isStop: boolean; isDisabled: boolean };
  /** Whether choices that need a new session are locked: the stream is on the air. */
  isLocked: boolean;
  sizes: { text: string; isDisabled: boolean; isChecked: boolean };
  sound: boolean;
  /** Words in place of the picture; `null` while there is one. */
  empty: { text: string; button: string; isDisabled: boolean } | null;
  /** A camera's preview is shown as in a mirror. */
  isMirrored: boolean;
  hasCameraMenu: boolean;
  hasMicrophoneMenu: boolean;
  isLive: boolean;
  viewers: number;
  trouble: Trouble | null;
  /** Measurements; `null` while there are none to show. */
  facts: {
    bitrate: string;
    frames: string;
    size: string;
    codec: string;
    rtt: string;
    loss: string;
  } | null;
  /** A remark on the quality; `null`: none. */
  aside: string | null;
  title: string;
}

/** The step that a change of the source needs. */
export type SourceStep = "open" | "close" | "none";

/**
 * Decides what the publish page shows, and what to do about its source.
 *
 * Has no DOM, no device and no connection: the page reports what became of them.
 */
export class PublishModel {
  readonly settings: Settings;
  readonly #stream: string;
  readonly #canSendSizes: (codec: string | null) => boolean;
  /** The kind of the open source; `null`: none is open. */
  #open: SourceKind | null = null;
  /** Number of the opening; the result of an earlier one is dropped. */
  #opening = 0;
  #isOpening = false;
  #connection: ConnectionState = "idle";
  #trouble: Trouble | null = null;
  #status: StreamStatus | null = null;
  #sample: StatsSample | null = null;
  #sending: Sending[] = [];

  constructor(stream: string, settings: Settings, canSendSizes: (codec: string | null) => boolean) {
    this.#stream = stream;
    this.settings = settings;
    this.#canSendSizes = canSendSizes;
  }

  get status(): StreamStatus | null {
    return this.#status;
  }

  get sample(): StatsSample | null {
    return this.#sample;
  }

  /** Whether the page publishes, or is about to. */
  get isOn(): boolean {
    return isOn(this.#connection);
  }

  /** Takes a codec from the address that this browser cannot send. */
  refuseCodec(): void {
    const codec = format.codec(this.settings.codec);
    this.#trouble = {
      title: `This browser cannot send ${codec}`,
      text: "It will choose a codec by itself.",
    };
    this.settings.codec = null;
  }

  /** A source is being opened. Returns the number of this opening. */
  beginOpening(): number {
    this.#isOpening = true;
    return ++this.#opening;
  }

  /** A source has been opened. Returns whether it is still wanted. */
  handleOpened(opening: number, kind: SourceKind): boolean {
    if (opening !== this.#opening) return false;
    this.#isOpening = false;
    this.#open = kind;
    this.#trouble = null;
    return true;
  }

  /**
   * A source could not be opened. Returns whether the one that is open, if any, is to be closed.
   */
  handleOpenFailed(opening: number, thrown: unknown): boolean {
    if (opening !== this.#opening) return false;
    this.#isOpening = false;
    const wanted = this.settings.source;
    this.#trouble = mediaTrouble(thrown, wanted);
    if (this.#open === null || this.#open === wanted || !this.isOn) return true;
    // A camera that is on the air stays there if the screen was not chosen after all.
    this.settings.source = this.#open;
    return false;
  }

  /** The source has been closed; one that is being opened is not wanted any more. */
  handleClosed(): void {
    this.#opening += 1;
    this.#isOpening = false;
    this.#open = null;
  }

  /** The source ended by itself: a device was unplugged, or sharing was stopped in the browser. */
  handleSourceEnded(): void {
    this.#trouble = {
      title: "The picture ended",
      text: "The device or the shared screen is gone. Choose again to go on.",
    };
  }

  /** A tab was selected. `isCameraAllowed`: the browser opens the camera without a question. */
  chooseSource(kind: SourceKind, isCameraAllowed: boolean): SourceStep {
    if (kind === this.settings.source && this.#open !== null) return "none";
    this.settings.source = kind;
    this.#trouble = null;
    if (this.isOn || kind === "test" || (kind === "camera" && isCameraAllowed)) return "open";
    return "close";
  }

  /** A setting of the source was changed. */
  changeSource(change: Partial<Settings>): SourceStep {
    Object.assign(this.settings, change);
    return this.#open !== null || this.#isOpening ? "open" : "none";
  }

  /** "Go live" was pressed. */
  handleGo(): void {
    this.#trouble = null;
  }

  handleConnection(connection: ConnectionState, problem: Problem | null): void {
    this.#connection = connection;
    this.#trouble = problem
      ? streamTrouble(problem, this.#stream)
      : connection === "ended"
        ? ENDED
        : null;
    if (!isOn(connection)) this.#sample = null;
  }

  handleStatus(status: StreamStatus): void {
    this.#status = status;
  }

  handleViewers(viewers: number): void {
    if (this.#status) this.#status = { ...this.#status, viewers };
  }

  handleSample(sample: StatsSample | null, sending: Sending[]): void {
    this.#sample = sample;
    this.#sending = sending;
  }

  view(): PublishView {
    const { settings, isOn } = this;
    const { source, codec } = settings;
    const connection = this.#connection;
    const isLive = connection === "connected";
    const isBusy = this.#isOpening && !isOn;
    const hasSizes = this.#canSendSizes(codec);
    const isReady = this.#open !== null && connection === "idle";
    return {
      connection,
      source,
      stateText: isBusy
        ? "Opening…"
        : isReady
          ? "Ready"
          : stateWords(connection, this.#trouble !== null),
      go: { text: this.#goText(), isStop: isOn, isDisabled: isBusy },
      isLocked: isOn,
      sizes: {
        text: sizesWords(codec, hasSizes),
        isDisabled: isOn || !hasSizes,
        isChecked: settings.simulcast && hasSizes,
      },
      sound: settings.sound,
      empty: this.#open === null ? { ...emptyWords(source), isDisabled: this.#isOpening } : null,
      isMirrored: this.#open === "camera",
      hasCameraMenu: source === "camera",
      hasMicrophoneMenu: source === "camera" && settings.sound,
      isLive,
      viewers: this.#status?.viewers ?? 0,
      trouble: this.#trouble ?? (connection === "idle" ? attemptTrouble(this.#status) : null),
      facts: isOn && (isLive || this.#trouble === null) ? facts(this.#sample) : null,
      aside: isLive ? this.#aside() : null,
      title: `${isLive ? "● " : ""}${this.#stream} · Nowcast`,
    };
  }

  #goText(): string {
    if (this.isOn) return "Stop";
    return this.#connection === "refused" || this.#connection === "ended" ? "Try again" : "Go live";
  }

  #aside(): string | null {
    const warning = this.#status?.warnings[0]?.detail;
    return warning ?? sendingWords(this.#sample?.limitation ?? null, this.settings, this.#sending);
  }
}

function isOn(connection: ConnectionState): boolean {
  return connection === "connecting" || connection === "connected" || connection === "reconnecting";
}

function facts(sample: StatsSample | null): NonNullable<PublishView["facts"]> {
  return {
    bitrate: format.bitrate(sample?.bitrate),
    frames: format.frameRate(sample?.frameRate),
    size: format.size(sample?.width, sample?.height),
    codec: format.codec(sample?.codec),
    rtt: format.milliseconds(sample?.rttMs),
    loss: format.percent(sample?.lossPercent),
  };
}
