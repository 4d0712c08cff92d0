import type { Access } from "./Access";
import { thisBrowser, type Browser } from "./Browser";
import { asksForExtensions } from "./HeaderExtensions";
import { LiveConnection } from "./LiveConnection";

/** A viewer's choices. */
export interface WhepOptions {
  /** Whether to receive sound; previews do without. */
  audio: boolean;
  /** How long the browser holds media back, in ms. 0: as little as it can. */
  delayMs: number;
}

/**
 * The delay of a receiver: by the standard's name, and by Chromium's older one in seconds.
 */
type DelayedReceiver = Partial<Pick<RTCRtpReceiver, "jitterBufferTarget">> & {
  playoutDelayHint?: number | null;
};

/** Watches by WHEP, and reconnects as {@link LiveConnection} describes. */
export class WhepClient extends LiveConnection {
  /**
   * The tracks to play. Stays one object over reconnects, so that a player keeps its last picture.
   */
  readonly stream: MediaStream;
  readonly #options: WhepOptions;

  constructor(
    endpoint: string,
    access: Access,
    options: WhepOptions = { audio: true, delayMs: 0 },
    browser: Browser = thisBrowser,
  ) {
    super(endpoint, access, browser);
    this.stream = browser.createStream();
    this.#options = options;
  }

  protected override prepare(peer: RTCPeerConnection): void {
    peer.ontrack = ({ track }) => {
      for (const old of this.stream.getTracks()) {
        if (old.kind === track.kind) this.stream.removeTrack(old);
      }
      this.stream.addTrack(track);
    };
    for (const kind of this.#options.audio ? ["audio", "video"] : ["video"]) {
      const transceiver = peer.addTransceiver(kind, { direction: "recvonly" });
      asksForExtensions(transceiver);
      const receiver: DelayedReceiver = transceiver.receiver;
      try {
        if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = this.#options.delayMs;
        else if ("playoutDelayHint" in receiver)
          receiver.playoutDelayHint = this.#options.delayMs / 1000;
      } catch {
        // The value is out of the browser's range: the browser chooses.
      }
    }
  }

  protected override polishOffer(sdp: string): string {
    return withStereo(sdp);
  }
}

/** Browsers decode Opus to mono unless the receiver asks for stereo (RFC 7587 §6.1). */
export function withStereo(sdp: string): string {
  const opus = /^a=rtpmap:(\d+) opus\/48000\/2/im.exec(sdp)?.[1];
  if (!opus) return sdp;
  return sdp.replace(new RegExp(`^a=fmtp:${opus} [^\\r\\n]*`, "m"), (line) =>
    /\bstereo=/.test(line) ? line : `${line};stereo=1`,
  );
}
