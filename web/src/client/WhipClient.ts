import type { Access } from "./Access";
import type { WantedLayer } from "./Api";
import { thisBrowser, type Browser } from "./Browser";
import { sendingFor, type Chosen, type Sending } from "./Encodings";
import { asksForExtensions } from "./HeaderExtensions";
import { LiveConnection } from "./LiveConnection";
import type { Problem } from "./Problem";

/** The publisher's choices for sending. */
export interface WhipOptions extends Chosen {
  /**
   * The codec by its SDP name (`H264`, `VP8`, `VP9`, `AV1`); `null`: the first that browser and
   * server share.
   */
  codec: string | null;
  /**
   * Which quality is reduced first when bandwidth or processor time is short (mst-content-hint).
   */
  degradation: "balanced" | "maintain-framerate" | "maintain-resolution";
}

/**
 * Bits/s. Browsers begin at 300 kb/s and take seconds to look good; most links carry this much. A
 * guess.
 */
const START_BITRATE = 1_200_000;

/**
 * How long a 409 is taken for the page's own old session: of a page that was reloaded while it
 * connected, or of a browser that was killed. The server gives such a session up after 2 s if the
 * new one has the same token or address, and after 10 s otherwise.
 */
const LEAVING_MS = 12_000;

/** Publishes by WHIP (RFC 9725), and reconnects as {@link LiveConnection} describes. */
export class WhipClient extends LiveConnection {
  #video: MediaStreamTrack | null;
  #audio: MediaStreamTrack | null;
  #options: WhipOptions;
  #videoSender: RTCRtpSender | null = null;
  #audioSender: RTCRtpSender | null = null;
  #wanted: WantedLayer[] = [];
  /** Time (`Browser.now`) of the first 409 in a row; `null` after another answer. */
  #busySince: number | null = null;
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

  override start(): void {
    this.#busySince = null;
    super.start();
  }

  /** Sends other tracks from now on; within the session if the kinds of media stay the same. */
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

  /** Limits the encodings to those that viewers need, by the server's report. */
  audienceWants(wanted: WantedLayer[]): void {
    if (JSON.stringify(wanted) === JSON.stringify(this.#wanted)) return;
    this.#wanted = wanted;
    this.#limit();
  }

  /** The limits of each encoding for the present viewers. */
  get sending(): Sending[] {
    return sendingFor(this.#options, this.#wanted);
  }

  protected override prepare(peer: RTCPeerConnection): void {
    // One stream for both tracks: viewers play them in sync.
    const stream = this.browser.createStream();
    this.#videoSender = null;
    this.#audioSender = null;
    this.#wanted = [];
    if (this.#audio) {
      const transceiver = peer.addTransceiver(this.#audio, {
        direction: "sendonly",
        streams: [stream],
      });
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
    const most = this.#options.encodings.at(-1)?.maxBitrate ?? START_BITRATE;
    return withStartBitrate(sdp, Math.min(START_BITRATE, most));
  }

  protected override negotiated(): void {
    this.#busySince = null;
    this.#limit();
  }

  protected override isFinal(problem: Problem): boolean {
    if (problem.status !== 409) return super.isFinal(problem);
    // Another publisher is live, or this page's own lost session has not timed out yet.
    this.#busySince ??= this.browser.now();
    const again = this.browser.now() + (problem.retryAfterMs ?? 0);
    if (this.wasConnected || again - this.#busySince <= LEAVING_MS) return false;
    this.#busySince = null;
    return true;
  }

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

  /**
   * Sets one after the other: parameters that were read before the last were set are out of date.
   */
  async #setParameters(): Promise<void> {
    do {
      this.#setting = "once";
      const sender = this.#videoSender;
      const parameters: (RTCRtpSendParameters & { degradationPreference?: string }) | undefined =
        sender?.getParameters();
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
        // Some browsers refuse a member; the stream works without the limits.
      }
    } while (this.#isToBeSetAgain);
    this.#setting = "no";
  }

  get #isToBeSetAgain(): boolean {
    return this.#setting === "again";
  }
}

type Scalable = RTCRtpEncodingParameters & { scalabilityMode?: string };

/** Changes only members that differ: one that was never set is the browser's own choice. */
function apply(
  { active, maxBitrate, maxFrameRate, scale, scalabilityMode }: Sending,
  encoding: Scalable,
): void {
  Object.assign(encoding, { active, maxBitrate, maxFramerate: maxFrameRate });
  if ((encoding.scaleResolutionDownBy ?? 1) !== scale) encoding.scaleResolutionDownBy = scale;
  if (scalabilityMode !== null) encoding.scalabilityMode = scalabilityMode;
  else delete encoding.scalabilityMode;
}

/** Formats that repair packets of a codec, and are offered beside each. */
const REPAIR = new Set(["video/rtx", "video/red", "video/ulpfec", "video/flexfec-03"]);

/**
 * Offers `codec` alone: an answer need not keep the order of the offer (RFC 3264 §6.1 only
 * recommends it).
 */
function prefer(transceiver: RTCRtpTransceiver, codec: string | null): void {
  if (codec === null) return;
  const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs;
  if (!codecs || !transceiver.setCodecPreferences) return;
  const wanted = codecs.filter(
    (each) => each.mimeType.toLowerCase() === `video/${codec.toLowerCase()}`,
  );
  if (wanted.length === 0) return;
  const repair = codecs.filter(({ mimeType }) => REPAIR.has(mimeType.toLowerCase()));
  transceiver.setCodecPreferences([...wanted, ...repair]);
}

/** Adds the bitrate that Chromium begins with; other browsers ignore the parameter. */
export function withStartBitrate(sdp: string, bitsPerSecond: number): string {
  const start = `x-google-start-bitrate=${Math.round(bitsPerSecond / 1000)}`;
  const [head = "", ...sections] = sdp.split(/^(?=m=)/m);
  const polished = sections.map((section) => {
    if (!section.startsWith("m=video")) return section;
    const first = /^m=video \d+ \S+ (\d+)/.exec(section)?.[1];
    if (!first) return section;
    const fmtp = new RegExp(`^a=fmtp:${first} [^\\r\\n]*`, "m");
    if (fmtp.test(section)) return section.replace(fmtp, (line) => `${line};${start}`);
    const rtpmap = new RegExp(`^a=rtpmap:${first} [^\\r\\n]*`, "m");
    return section.replace(rtpmap, (line) => `${line}\r\na=fmtp:${first} ${start}`);
  });
  return head + polished.join("");
}
