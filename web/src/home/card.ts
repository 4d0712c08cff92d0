import type { StreamStatus } from "../client/Api";
import * as format from "../ui/format";

/** The contents of one card. */
export interface CardView {
  stream: string;
  viewers: string;
  facts: string;
  /** The card in words, for screen readers. */
  label: string;
  /** Whether its preview plays. */
  plays: boolean;
}

export function cardView(status: StreamStatus, plays: boolean, unixMs: number): CardView {
  const { stream, viewers, video, audio, live_since_ms } = status;
  const facts = [
    pictureWords(status),
    video || audio ? format.codec(video?.codec ?? audio?.codec) : "",
    live_since_ms == null ? "" : format.duration(unixMs - live_since_ms),
  ];
  return {
    stream,
    viewers: String(viewers),
    facts: facts.filter(Boolean).join(" · "),
    label: `Watch ${stream}, live, ${format.viewers(viewers)}`,
    plays,
  };
}

function pictureWords({ video, audio }: StreamStatus): string {
  if (video?.height) return `${video.height}p${Math.round(video.frame_rate) || ""}`;
  return !video && audio ? "sound only" : "";
}
