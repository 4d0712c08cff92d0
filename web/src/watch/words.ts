import type { StreamStatus, ViewerReport } from "../client/Api";
import type { Problem } from "../client/Problem";
import * as format from "../ui/format";
import type { WatchState } from "./watchState";

/** What the page says over the picture. */
export interface Words {
  title: string;
  text: string;
  canTryAgain: boolean;
}

export function wordsFor(state: WatchState, problem: Problem | null, status: StreamStatus | null): Words {
  const words = (title: string, text = "", canTryAgain = false): Words => ({ title, text, canTryAgain });
  switch (state) {
    case "connecting":
      return words("Connecting");
    case "waiting":
      return words("Waiting for the stream to start", waitingWords(status));
    case "live":
      return status && !status.video ? words("Sound only", "This stream has no picture.") : words("");
    case "paused":
      return words("The stream paused", "It will continue here by itself.");
    case "reconnecting":
      return problem
        ? words(problem.handshake ? "The encrypted connection could not be made" : problem.title, [problem.detail, problem.fix].filter(Boolean).join(" "))
        : words("Connection lost", "Reconnecting…");
    case "unsupported": {
      const codec = problem?.codec ?? status?.video?.codec ?? null;
      return words(
        codec ? `This browser cannot play ${format.codec(codec)}` : "This browser cannot play the stream",
        codecAdvice(codec, problem?.offered ?? receivableCodecs()),
        true,
      );
    }
    case "unauthorised":
      return words(
        "You need a token to watch this",
        "Open the link that you were given in full; it ends in #token=… If you did, the token may have expired, or may be for another stream.",
        true,
      );
    case "ended":
      return words("The stream was ended", "Whoever runs the server ended it. If it starts again, it will play here by itself.", true);
    case "refused":
      return words(problem?.title ?? "The server refused", [problem?.detail, problem?.fix].filter(Boolean).join(" "), true);
  }
}

/** What there is to know of a stream that has not begun. */
function waitingWords(status: StreamStatus | null): string {
  const failure = status?.publish_failure;
  if (!failure) return "It will begin here by itself.";
  return `At ${format.timeOfDay(failure.failed_at_ms)} a publisher could not connect: ${failure.detail}. When one can, it will begin here by itself.`;
}

/** What most publishers can send, and most browsers play, comes first. */
const BY_REACH = ["VP8", "H264", "VP9", "AV1", "H265"];

/** Where the server has refused nothing: what changed while this page was watching. */
function receivableCodecs(): string[] {
  if (typeof RTCRtpReceiver === "undefined") return [];
  return (RTCRtpReceiver.getCapabilities("video")?.codecs ?? []).map(({ mimeType }) => mimeType.replace(/^video\//i, ""));
}

/** What to do about a codec that this browser lacks: `offered` are those that it has. */
export function codecAdvice(codec: string | null, offered: string[]): string {
  const has = new Set(offered.map((each) => each.toUpperCase()));
  const playable = BY_REACH.filter((each) => has.has(each) && each !== codec?.toUpperCase());
  const choice = playable.slice(0, 2).map(format.codec).join(" or ");
  return [
    codec ? `The stream is published in ${format.codec(codec)}.` : "",
    `Try another browser${choice ? `, or ask the publisher to choose ${choice}, which this one plays` : ""}.`,
    "If the codec changes, it will play here by itself.",
  ].filter(Boolean).join(" ");
}

/** What is wrong with what is published, for who watches; the publisher's page says what to do about it. */
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

/** How large the picture is, and why it is not larger. */
export function pictureWords(height: number | null, report: ViewerReport | null): string {
  if (!height) return "";
  if (report?.video?.reason !== "network") return `${height}p`;
  const carries = report.transport ? `: your network carries ${format.bitrate(report.transport.estimate_bps)}` : " to your network";
  return `${height}p, adapting${carries}`;
}
