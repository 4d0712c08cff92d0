import type { StreamStatus, ViewerReport } from "../client/Api";
import type { Problem } from "../client/Problem";
import * as format from "../ui/format";
import { problemWords } from "../ui/problemWords";
import type { WatchState } from "./watchState";

/** The words over the picture. */
export interface Words {
  title: string;
  text: string;
  canTryAgain: boolean;
}

export function wordsFor(
  state: WatchState,
  problem: Problem | null,
  status: StreamStatus | null,
): Words {
  const words = (title: string, text = "", canTryAgain = false): Words => ({
    title,
    text,
    canTryAgain,
  });
  switch (state) {
    case "connecting":
      return words("Connecting");
    case "waiting":
      return words("Waiting for the stream to start", waitingWords(status, "begin"));
    case "live":
      return status && !status.video
        ? words("Sound only", "This stream has no picture.")
        : words("");
    case "paused":
      return words("The stream is paused", waitingWords(status, "continue"));
    case "reconnecting":
      if (!problem) return words("Connection lost", "Reconnecting…");
      return { ...problemWords(problem), canTryAgain: false };
    case "unsupported": {
      const codec = problem?.codec ?? status?.video?.codec ?? null;
      return words(
        codec
          ? `This browser cannot play ${format.codec(codec)}`
          : "This browser cannot play the stream",
        codecAdvice(codec, problem?.offered ?? receivableCodecs()),
        true,
      );
    }
    case "unauthorised":
      return words(
        "You need a token to watch this",
        "Open the link that you were given in full; it ends in #token=… If you did, the token " +
          "may have expired, or may be for another stream.",
        true,
      );
    case "ended":
      return words(
        "The stream was ended",
        "The server's operator ended it. If it starts again, it will play here by itself.",
        true,
      );
    case "refused":
      if (!problem) return words("The server refused", "", true);
      return { ...problemWords(problem), canTryAgain: true };
  }
}

/** What to expect of a stream that is not live. */
function waitingWords(status: StreamStatus | null, verb: "begin" | "continue"): string {
  const failure = status?.publish_failure;
  if (!failure) return `It will ${verb} here by itself.`;
  const time = format.timeOfDay(failure.failed_at_ms);
  return `At ${time} a publisher could not connect. When one can, it will ${verb} here by itself.`;
}

/**
 * The reason why the last publisher could not connect; empty if there is none. It is long and of use
 * to the publisher only, so it is not written over the picture.
 */
export function attemptWords(status: StreamStatus | null): string {
  const detail = status?.publish_failure?.detail;
  return detail ? `the publisher's encrypted connection (DTLS) failed: ${detail}` : "";
}

/** The state in the line below the stream's name. */
export function stateWords(state: WatchState): string {
  switch (state) {
    case "waiting":
      return "not live yet";
    case "unsupported":
      return "cannot be played here";
    case "unauthorised":
      return "needs a token";
    case "refused":
      return "not available";
    default:
      return state;
  }
}

/** The codecs that most publishers can send and most browsers can play come first. */
const BY_REACH = ["VP8", "H264", "VP9", "AV1", "H265"];

/**
 * The codecs of this browser, for a codec that changed while the page was watching: no refusal
 * lists them.
 */
function receivableCodecs(): string[] {
  if (typeof RTCRtpReceiver === "undefined") return [];
  return (RTCRtpReceiver.getCapabilities("video")?.codecs ?? []).map(({ mimeType }) =>
    mimeType.replace(/^video\//i, ""),
  );
}

/** Advice for a codec that this browser lacks. `offered`: the codecs that it has. */
export function codecAdvice(codec: string | null, offered: string[]): string {
  const has = new Set(offered.map((each) => each.toUpperCase()));
  const playable = BY_REACH.filter((each) => has.has(each) && each !== codec?.toUpperCase());
  const choice = playable.slice(0, 2).map(format.codec).join(" or ");
  return [
    codec ? `The stream is published in ${format.codec(codec)}.` : "",
    choice
      ? `Try another browser, or ask the publisher to choose ${choice}, which this one plays.`
      : "Try another browser.",
    "If the codec changes, it will play here by itself.",
  ]
    .filter(Boolean)
    .join(" ");
}

/**
 * The first warning on the published media, in a viewer's words; the publisher's page shows the
 * advice.
 */
export function warningWords(status: StreamStatus | null): string {
  const [first] = status?.warnings ?? [];
  switch (first?.code) {
    case undefined:
      return "";
    case "b_frames":
      return "The publisher's encoder sends B-frames: most pictures are lost in browsers";
    case "no_parameter_sets":
      return "The publisher sends no parameter sets: the picture cannot be decoded";
    default:
      return first?.detail ?? "";
  }
}

/** The size of the picture, with the reason where the network limits it. */
export function pictureWords(height: number | null, report: ViewerReport | null): string {
  if (!height) return "";
  if (report?.video?.reason !== "network") return `${height}p`;
  const carries = report.transport
    ? `: your network carries ${format.bitrate(report.transport.estimate_bps)}`
    : " to your network";
  return `${height}p, adapting${carries}`;
}
