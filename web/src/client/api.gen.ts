// The types of the server's JSON. Generated from openapi.json by `npm run generate`.

/** An audio track as the API shows it. */
export interface AudioStatus {
  /** Bits per second over the last second. */
  bitrate_bps: number;
  /** For example `Opus`. */
  codec: string;
}

/** What a viewer is sent. */
export interface Current {
  /** The encoding's `rid`, where simulcast names one. */
  encodingId?: string | null;
  /** The highest spatial layer that is sent, where some are left out. */
  spatialLayerId?: number | null;
  /** The highest temporal layer that is sent, where some are left out. */
  temporalLayerId?: number | null;
}

/** An encoding as a whole. */
export interface Encoding {
  /** Bits a second. */
  bitrate?: number | null;
  /** Pixels. */
  height?: number | null;
  /** Its `rid`, where simulcast names one. */
  id?: string | null;
  /** Its place by size, from zero, the smallest. */
  simulcastIdx: number;
  /** Pixels. */
  width?: number | null;
}

/**
 * A layer that can be asked for. Layers within an encoding are the server's choice and not listed.
 */
export interface Layer {
  /** Bits a second. */
  bitrate: number;
  /** The encoding's `rid`, where simulcast names one. */
  encodingId?: string | null;
  /** Pictures a second. */
  frameRate: number;
  /** Pixels. */
  height?: number | null;
  /** The same, as later drafts call it. */
  rid?: string | null;
  /** The encoding's place by size, from zero, the smallest. */
  simulcastIdx: number;
  /** Zero where there is no `rid`: the draft asks for one of the two. */
  spatialLayerId?: number | null;
  /** Pixels. */
  width?: number | null;
}

/** One layer of a video track. */
export interface LayerStatus {
  /** Bits per second over the last second. */
  bitrate_bps: number;
  /** Frames per second over the last second. */
  frame_rate: number;
  /** Pixels. */
  height?: number | null;
  /** The encoding's `rid`, where simulcast names one. */
  rid?: string | null;
  /** Pixels. */
  width?: number | null;
}

/** What a viewer wishes of the video. An empty object leaves the choice to the server. */
export interface LayerWish {
  /**
   * The `rid` of the layer to send, whatever the network carries. Later drafts of WHEP call the
   * field `rid`.
   */
  encodingId?: string | null;
  /**
   * The most pictures a second, where the publisher sends temporal layers to choose from, or where
   * all viewers wish so few.
   */
  maxFrameRate?: number | null;
  /** The most lines of the picture. Smaller ones are sent where the network asks for it. */
  maxHeight?: number | null;
  /** The most columns of the picture. */
  maxWidth?: number | null;
  /** The `mid` of the video. There is one video, so it changes nothing; drafts of WHEP name it. */
  mediaId?: string | null;
  /** No video for now, because the viewer does not look at it. Audio goes on. */
  paused?: boolean;
  /**
   * The highest spatial layer to send of an encoding that has some (SVC); `maxSpatialLayerId` means
   * the same.
   */
  spatialLayerId?: number | null;
  /**
   * The highest temporal layer to send of an encoding that has some; `maxTemporalLayerId` means the
   * same.
   */
  temporalLayerId?: number | null;
}

/** What a viewer may be shown, and what it is shown. */
export interface Layers {
  /** The `rid` of what is shown, where simulcast names one. */
  active?: string | null;
  /** What the publisher sends at the moment, best first. */
  layers: LayerStatus[];
  /** Why: `best` (there is no better one), `wished`, `network` (it carries no more), `hidden`. */
  reason?: string | null;
  /** What the viewer asked for. */
  wish: LayerWish;
}

/** The data of a `layers` event, for each medium of the session's description that is video. */
export interface MediumLayers {
  /** Encodings that come, best first. */
  active: Encoding[];
  /** Bits a second that the viewer's network carries, by our estimate. */
  carriedBitrate?: number | null;
  /** What is sent to this viewer. */
  current?: Current | null;
  /** What to do about the reason, for people, where there is something. */
  detail?: string | null;
  /** Encodings that the publisher can send and does not send now. */
  inactive: Encoding[];
  /** What can be asked for, best first. */
  layers: Layer[];
  /**
   * Why: `best` (there is no better one), `wished`, `network` (it carries no more), `hidden`,
   * `codec` (the session did not negotiate what is published, and nothing is sent).
   */
  reason?: string | null;
  /** What the viewer asked for. */
  wish: LayerWish;
}

/** An error as `application/problem+json`. */
export interface Problem {
  /** With 406: the codec that is published. */
  codec?: string | null;
  /** What is wrong. */
  detail: string;
  /** What to do. */
  fix: string;
  /**
   * With the 404 of a session whose DTLS handshake failed: the class of the reason, as in
   * `nowcast_dtls_failures_total`.
   */
  handshake?: string | null;
  /** With 406: the codecs that the viewer offers. */
  offered?: string[] | null;
  /** The HTTP status. */
  status: number;
  /** The status in words. */
  title: string;
  /** Always `about:blank`: the status says which kind it is. */
  type: string;
}

/** The last attempt to publish a stream that failed in its DTLS handshake. */
export interface PublishFailure {
  /** For people: what went wrong, and the kind of the publisher's certificate. */
  detail: string;
  /** When, in milliseconds since the Unix epoch. */
  failed_at_ms: number;
  /**
   * For programs, as in `nowcast_dtls_failures_total`: `alert`, `version`, `cipher`, `srtp`,
   * `certificate`, `signature`, `fingerprint`, `finished`, `timeout`.
   */
  reason: string;
  /** A short public handle of the session, not its secret id. */
  session: string;
}

/** A publisher as the API shows it. */
export interface PublisherStatus {
  /** Since when it is connected, in milliseconds since the Unix epoch. */
  connected_at_ms: number;
  /** Loss on the way from the publisher, before repair. */
  loss_percent?: number | null;
  /** Round-trip time, where known. */
  rtt_ms?: number | null;
  /** A short public handle of the session, not its secret id. */
  session: string;
  /**
   * What is wanted of each encoding of the video, smallest first, by its viewers' networks and
   * wishes. A publisher that keeps to it saves its uplink, and each viewer gets more of what its
   * network carries.
   */
  wanted_layers: WantedLayer[];
}

/** One track on its way to one viewer. */
export interface SentReport {
  /** Payload bytes. */
  bytes_sent: number;
  /**
   * Whether the publisher's clock is known: `known`; `untold` (no sender report or capture time
   * came yet); `wrong` (it says that pictures were captured after they arrived, or a minute
   * before). `captured_at_ms` is `null` unless it is known.
   */
  capture_clock: string;
  /**
   * When that packet's picture or sound was captured, server wall clock, ms since the Unix epoch.
   */
  captured_at_ms?: number | null;
  /** Ticks a second of `rtp_timestamp`. */
  clock_rate: number;
  /** For example `VP8`. */
  codec: string;
  /** What to do about the reason, for people, where there is something: with `codec`. */
  detail?: string | null;
  /** Key frames that the viewer asked for. */
  key_frame_requests: number;
  /** The `rid` of the layer that is sent, where simulcast names one. */
  layer?: string | null;
  /** From the viewer's receiver reports. */
  loss_percent?: number | null;
  /** Packets that the viewer reported missing. */
  nacks: number;
  /** RTP packets, without retransmissions. */
  packets_sent: number;
  /**
   * Why this one: `best` (there is no better one), `wished`, `network` (it carries no more),
   * `hidden`, `load` (the server's core cannot send more to each viewer), `codec` (the session did
   * not negotiate what is published, and nothing is sent).
   */
  reason: string;
  /** Packets sent again. */
  retransmitted: number;
  /** RTP timestamp, as this viewer sees it, of the packet sent last. */
  rtp_timestamp: number;
  /** From the viewer's receiver reports. */
  rtt_ms?: number | null;
  /** The highest spatial layer of it that is sent, where some are left out: smaller pictures. */
  spatial_layer?: number | null;
  /** Changes from one layer to another. */
  switches: number;
  /**
   * The highest temporal layer of it that is sent, where some are left out: fewer pictures a
   * second.
   */
  temporal_layer?: number | null;
  /** The viewer's wish. */
  wish: LayerWish;
}

/** Whether a stream can be seen now. */
export type StreamState = "waiting" | "live" | "paused";

/** A stream as the API shows it. */
export interface StreamStatus {
  /** The audio track. */
  audio?: AudioStatus | null;
  /** Bits per second from the publisher, over the last second. */
  bitrate_in_bps: number;
  /** Bits per second to all viewers together, over the last second. */
  bitrate_out_bps: number;
  /** Since when, in milliseconds since the Unix epoch. */
  live_since_ms?: number | null;
  /**
   * The last attempt to publish that failed in its DTLS handshake: for ten minutes, or until a
   * publisher connects.
   */
  publish_failure?: PublishFailure | null;
  /** The publisher, once it is connected. */
  publisher?: PublisherStatus | null;
  /** Whether it can be seen now. */
  state: StreamState;
  /** Its name. */
  stream: string;
  /** The video track. */
  video?: VideoStatus | null;
  /** Viewers whose session is up. */
  viewers: number;
  /** Faults of the published media that are known. */
  warnings: StreamWarning[];
}

/** Something that is wrong with a stream, though it is forwarded. */
export interface StreamWarning {
  /** For programs: `b_frames`, `no_parameter_sets`. More may be added. */
  code: string;
  /** For people: what is wrong, and the encoder's setting that avoids it. */
  detail: string;
}

/** All streams. */
export interface Streams {
  /** Streams that have a publisher or viewers, by name. */
  streams: StreamStatus[];
}

/** The server's clock. */
export interface Time {
  /** Milliseconds since the Unix epoch, with a fraction. */
  now_ms: number;
}

/** A viewer's network by its transport-wide feedback, retransmissions included. */
export interface TransportReport {
  /** Less is sent than the estimate, so the network may carry more than is known. */
  app_limited: boolean;
  /** Bits a second that its network carries, by our estimate. */
  estimate_bps: number;
  /** `increase`, `hold` or `decrease`. */
  estimate_state: string;
  /** Share of packets lost lately, before repair. */
  loss_percent: number;
  /** Packets that had not come when it reported. */
  lost: number;
  /** How long every packet waits in queues on the way. */
  queue_ms: number;
  /** Packets that came. */
  received: number;
  /** Round trip, with the time that reports wait. */
  rtt_ms: number;
}

/** A video track as the API shows it. */
export interface VideoStatus {
  /** Bits per second over the last second. */
  bitrate_bps: number;
  /** For example `H264`. */
  codec: string;
  /** Frames per second over the last second. */
  frame_rate: number;
  /** Pixels, once a key frame told. */
  height?: number | null;
  /** Time between the last two key frames. */
  key_frame_interval_ms?: number | null;
  /** Simulcast or SVC layers; one entry where there is one encoding. */
  layers: LayerStatus[];
  /** Pixels, once a key frame told. */
  width?: number | null;
}

/** What the server sends to one viewer, for that viewer. */
export interface ViewerReport {
  /** The audio it is sent. */
  audio?: SentReport | null;
  /** Whether ICE and DTLS are up. */
  connected: boolean;
  /** A short public handle of the session. */
  session: string;
  /** The stream's state. */
  state: StreamState;
  /** The stream that it watches. */
  stream: string;
  /** How its network is, where the viewer gives transport-wide feedback. */
  transport?: TransportReport | null;
  /** The video it is sent. */
  video?: SentReport | null;
  /** The place of the video among the media of the session's description, from zero. */
  video_line?: number | null;
}

/** What a publisher's audience has use for. */
export interface Wanted {
  /** One for each encoding of the video, smallest first; none until something comes. */
  wanted_layers: WantedLayer[];
}

/** What is wanted of an encoding of the video. */
export interface WantedLayer {
  /** Whether a viewer has use for it. It is wanted again as soon as one may have. */
  active: boolean;
  /**
   * More bits a second than this are of no use. `null` where there is one encoding only, whose rate
   * is the publisher's choice.
   */
  max_bitrate_bps?: number | null;
  /**
   * More pictures a second than this are of no use, where every viewer of the encoding wishes fewer
   * than may come.
   */
  max_framerate?: number | null;
  /** Higher spatial layers than this are of no use, where the encoding has some (SVC). */
  max_spatial_layer?: number | null;
  /** Higher temporal layers than this are of no use, where the encoding has some. */
  max_temporal_layer?: number | null;
  /** Its name; `null` where there is one encoding only. */
  rid?: string | null;
}
