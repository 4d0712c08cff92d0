import type { Access } from "./Access";
import type { WantedLayer } from "./Api";
import { thisBrowser, type Browser } from "./Browser";
import { sendingFor, type Chosen, type Sending } from "./Encodings";
import { asksForExtensions } from "./HeaderExtensions";
import { LiveConnection } from "./LiveConnection";
import type { Problem } from "./Problem";

/** What a publisher sends, and how. */
export interface WhipOptions extends Chosen {
  /** The codec by its SDP name (`H264`, `VP8`, `VP9`, `AV1`), or `null` for what browser and server agree on. */
  codec: string | null;
  /** What gives way when the network or the machine is short. */
  degradation: "balanced" | "maintain-framerate" | "maintain-resolution";
}

/** Browsers begin at 300 kb/s and take seconds to look good; most links carry this much at once. A guess. */
const START_BITRATE = 1_200_000;

/**
 * A page that was reloaded while it connected, or whose browser was killed, finds its own old session in the way. The
 * server gives that up after 2 s where it knows the page by its token or address, and after 10 s where it does not.
 */
const LEAVING_MS = 12_000;

/** Publishes by WHIP (RFC 9725) and keeps publishing: see {@link LiveConnection} for how. */
export class WhipClient extends LiveConnection {
  #video: MediaStreamTrack | null;
  #audio: MediaStreamTrack | null;
  #options: WhipOptions;
  #videoSender: RTCRtpSender | null = null;
  #audioSender: RTCRtpSender | null = null;
  #wanted: WantedLayer[] = [];
  /** Whether parameters are being set, and have to be once more. */
  #setting: "no" | "once" | "again" = "no";

  constructor(
    endpoint: string,
    access: Access,
    tracks: { video: MediaStreamTrack | null; audio: MediaStreamTrack | null },
    options: WhipOptions,
    browser: Browser = thisBrowser,
  ) {
    super(endpoint, access, browser);
    this.#video = tracks.video;
    this.#audio = tracks.audio;
    this.#options = options;
  }

  /** Goes on with other tracks, without a new session where the kinds stay the same. */
  async replaceTracks(
    tracks: { video: MediaStreamTrack | null; audio: MediaStreamTrack | null },
    options: WhipOptions,
  ): Promise<void> {
    const sameKinds =
      (tracks.video === null) === (this.#video === null) &&
      (tracks.audio === null) === (this.#audio === null) &&
      options.codec === this.#options.codec &&
      options.encodings.length === this.#options.encodings.length;
    this.#video = tracks.video;
    this.#audio = tracks.audio;
    this.#options = options;
    if (this.state === "idle") return;
    if (!sameKinds || !this.peer) return this.reopen();
    await this.#videoSender?.replaceTrack(tracks.video);
    await this.#audioSender?.replaceTrack(tracks.audio);
    this.#limit();
  }

  /** The audience has use for these from now on. */
  audienceWants(wanted: WantedLayer[]): void {
    if (JSON.stringify(wanted) === JSON.stringify(this.#wanted)) return;
    this.#wanted = wanted;
    this.#limit();
  }

  /** What is to be sent of each encoding, for the present audience. */
  get sending(): Sending[] {
    return sendingFor(this.#options, this.#wanted);
  }

  protected override prepare(peer: RTCPeerConnection): void {
    // One stream: the viewer keeps lips and sound together.
    const stream = this.browser.createStream();
    this.#videoSender = null;
    this.#audioSender = null;
    this.#wanted = [];
    if (this.#audio) {
      const transceiver = peer.addTransceiver(this.#audio, { direction: "sendonly", streams: [stream] });
      asksForExtensions(transceiver);
      this.#audioSender = transceiver.sender;
    }
    if (this.#video) {
      const transceiver = peer.addTransceiver(this.#video, {
        direction: "sendonly",
        streams: [stream],
        sendEncodings: this.#sendEncodings(),
      });
      asksForExtensions(transceiver);
      prefer(transceiver, this.#options.codec);
      this.#videoSender = transceiver.sender;
    }
  }

  protected override polishAnswer(sdp: string): string {
    return withStartBitrate(sdp, Math.min(START_BITRATE, this.#options.encodings.at(-1)?.maxBitrate ?? START_BITRATE));
  }

  protected override negotiated(): void {
    this.#limit();
  }

  protected override isFinal(problem: Problem): boolean {
    if (problem.status !== 409) return super.isFinal(problem);
    // Busy: another publisher is live, unless it is our own session that was lost and has not timed out yet.
    this.#busySince ??= this.browser.now();
    const again = this.browser.now() + (problem.retryAfterMs ?? 0);
    if (this.wasConnected || again - this.#busySince <= LEAVING_MS) return false;
    this.#busySince = null;
    return true;
  }

  #busySince: number | null = null;

  #sendEncodings(): RTCRtpEncodingParameters[] {
    const { encodings, maxFrameRate, scalabilityMode } = this.#options;
    return encodings.map(({ rid, scale, maxBitrate }) => ({
      // One encoding alone needs no name, and servers that know no simulcast take it.
      ...(encodings.length > 1 ? { rid, scaleResolutionDownBy: scale } : {}),
      ...(scalabilityMode ? { scalabilityMode } : {}),
      maxBitrate,
      maxFramerate: maxFrameRate,
    }));
  }

  #limit(): void {
    if (this.#setting === "no") void this.#setParameters();
    else this.#setting = "again";
  }

  /** One after the other: what was read of the sender before it was set is out of date. */
  async #setParameters(): Promise<void> {
    do {
      this.#setting = "once";
      const sender = this.#videoSender;
      const parameters: RTCRtpSendParameters & { degradationPreference?: string } | undefined = sender?.getParameters();
      if (!sender || !parameters) break;
      parameters.degradationPreference = this.#options.degradation;
      const sendings = this.sending;
      parameters.encodings.forEach((encoding, n) => {
        const sending = sendings[n];
        if (sending) apply(sending, encoding);
      });
      try {
        await sender.setParameters(parameters);
      } catch {
        // Not every browser takes all of it; the stream works without.
      }
    } while (this.#isToBeSetAgain);
    this.#setting = "no";
  }

  get #isToBeSetAgain(): boolean {
    return this.#setting === "again";
  }
}

type Scalable = RTCRtpEncodingParameters & { scalabilityMode?: string };

/** Changes what has to change: what was never set is the browser's own choice. */
function apply({ active, maxBitrate, maxFrameRate, scale, scalabilityMode }: Sending, encoding: Scalable): void {
  Object.assign(encoding, { active, maxBitrate, maxFramerate: maxFrameRate });
  if ((encoding.scaleResolutionDownBy ?? 1) !== scale) encoding.scaleResolutionDownBy = scale;
  if (scalabilityMode !== null) encoding.scalabilityMode = scalabilityMode;
  else delete encoding.scalabilityMode;
}

/** What repairs a codec's packets; not a choice of its own. */
const REPAIR = new Set(["video/rtx", "video/red", "video/ulpfec", "video/flexfec-03"]);

/** Offers `codec` and nothing else: an answer need not keep the offer's order (RFC 3264 §6.1 only recommends it). */
function prefer(transceiver: RTCRtpTransceiver, codec: string | null): void {
  const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs;
  if (!codec || !codecs || !transceiver.setCodecPreferences) return;
  const wanted = codecs.filter((each) => each.mimeType.toLowerCase() === `video/${codec.toLowerCase()}`);
  if (wanted.length === 0) return;
  transceiver.setCodecPreferences([...wanted, ...codecs.filter(({ mimeType }) => REPAIR.has(mimeType.toLowerCase()))]);
}

/** Chromium reads its first bitrate from the answer; others ignore it. */
export function withStartBitrate(sdp: string, bitsPerSecond: number): string {
  const start = `x-google-start-bitrate=${Math.round(bitsPerSecond / 1000)}`;
  const [head = "", ...sections] = sdp.split(/^(?=m=)/m);
  const polished = sections.map((section) => {
    if (!section.startsWith("m=video")) return section;
    const first = /^m=video \d+ \S+ (\d+)/.exec(section)?.[1];
    if (!first) return section;
    const fmtp = new RegExp(`^a=fmtp:${first} [^\\r\\n]*`, "m");
    if (fmtp.test(section)) return section.replace(fmtp, (line) => `${line};${start}`);
    return section.replace(new RegExp(`^a=rtpmap:${first} [^\\r\\n]*`, "m"), (line) => `${line}\r\na=fmtp:${first} ${start}`);
  });
  return head + polished.join("");
}
