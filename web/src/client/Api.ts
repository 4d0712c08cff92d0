/** The server's JSON, as `docs/design/0001-first-stream.md` and `/api/openapi.json` describe it. */

import { at } from "./root";

export type StreamState = "waiting" | "live" | "paused";

export interface LayerStatus {
  rid: string | null;
  width: number | null;
  height: number | null;
  bitrate_bps: number;
  frame_rate: number;
}

/** What the audience has use for, of an encoding that the publisher can send. */
export interface WantedLayer {
  /** `null` where there is one encoding only. */
  rid: string | null;
  active: boolean;
  /** `null`: as many as the publisher chose. */
  max_bitrate_bps: number | null;
  /** More frames a second are of no use; `null`: they are. */
  max_framerate: number | null;
  /** Higher layers within the encoding are of no use; `null`: they are. */
  max_spatial_layer: number | null;
  max_temporal_layer: number | null;
}

/** Something that is wrong with what is published, though it is forwarded. */
export interface StreamWarning {
  code: string;
  detail: string;
}

/** The last attempt to publish that failed in its DTLS handshake. */
export interface PublishFailure {
  session: string;
  reason: string;
  detail: string;
  failed_at_ms: number;
}

export interface StreamStatus {
  stream: string;
  state: StreamState;
  live_since_ms: number | null;
  viewers: number;
  publisher: {
    session: string;
    connected_at_ms: number;
    rtt_ms: number | null;
    loss_percent: number | null;
    wanted_layers: WantedLayer[];
  } | null;
  video: {
    codec: string;
    width: number | null;
    height: number | null;
    frame_rate: number;
    bitrate_bps: number;
    key_frame_interval_ms: number | null;
    layers: LayerStatus[];
  } | null;
  audio: { codec: string; bitrate_bps: number } | null;
  warnings: StreamWarning[];
  publish_failure: PublishFailure | null;
  bitrate_in_bps: number;
  bitrate_out_bps: number;
}

export interface SentReport {
  codec: string;
  packets_sent: number;
  bytes_sent: number;
  nacks: number;
  retransmitted: number;
  key_frame_requests: number;
  rtt_ms: number | null;
  loss_percent: number | null;
  rtp_timestamp: number;
  captured_at_ms: number | null;
  /** Why `captured_at_ms` is `null`: the publisher told no clock, or one that cannot be right. */
  capture_clock: "known" | "untold" | "wrong";
  clock_rate: number;
  layer: string | null;
  reason: "best" | "wished" | "network" | "hidden" | "codec" | "load";
  /** What to do about the reason, where there is something. */
  detail: string | null;
  switches: number;
}

export interface ViewerReport {
  session: string;
  stream: string;
  state: StreamState;
  connected: boolean;
  video: SentReport | null;
  audio: SentReport | null;
  /** What the viewer's network is like, where the browser tells. */
  transport: { estimate_bps: number; loss_percent: number; rtt_ms: number; queue_ms: number } | null;
}

/** What a `layers` event says of the video, as far as we read it. */
export interface MediumLayers {
  current: { encodingId: string | null } | null;
  reason: SentReport["reason"] | null;
  /** Bits a second that our network carries, by the server's estimate. */
  carriedBitrate: number | null;
}

/** What the API says of a stream that nobody has touched. */
export function waitingStream(stream: string): StreamStatus {
  return {
    stream,
    state: "waiting",
    live_since_ms: null,
    viewers: 0,
    publisher: null,
    video: null,
    audio: null,
    warnings: [],
    publish_failure: null,
    bitrate_in_bps: 0,
    bitrate_out_bps: 0,
  };
}

/** The address of something about a stream: names keep their slashes. */
export function streamPath(prefix: string, stream: string, suffix = ""): string {
  return `${at(prefix)}/${stream.split("/").map(encodeURIComponent).join("/")}${suffix}`;
}
