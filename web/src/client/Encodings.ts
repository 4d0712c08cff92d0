import type { WantedLayer } from "./Api";

/** One of the sizes in which a publisher sends the same picture (simulcast, RFC 8853). */
export interface Encoding {
  /** Its name: `f`ull, `h`alf, `q`uarter. */
  rid: string;
  /** How much smaller than the source, in each direction. */
  scale: number;
  /** Bits per second, as long as nothing is known of the audience. */
  maxBitrate: number;
}

/** The publisher's choices, sent in full while viewers need all of it. */
export interface Chosen {
  /** The sizes of the video, smallest first; at least one. */
  encodings: Encoding[];
  /** Frames per second at most. */
  maxFrameRate: number;
  /** The layers of each encoding (webrtc-svc), or `null` for what the browser does by itself. */
  scalabilityMode: string | null;
}

/** The limits of one encoding. */
export interface Sending {
  active: boolean;
  /** Bits per second. */
  maxBitrate: number;
  /** Frames per second. */
  maxFrameRate: number;
  /** How much smaller than the source, in each direction. */
  scale: number;
  scalabilityMode: string | null;
}

/**
 * Returns the sizes for a picture of `height` lines and at most `maxBitrate`, smallest first.
 *
 * A quarter of the pixels needs a bit more than a quarter of the bits. Below some 180 lines a
 * picture shows too little to be of use (a guess).
 */
export function encodingsFor(height: number, maxBitrate: number): Encoding[] {
  const full = { rid: "f", scale: 1, maxBitrate };
  const half = { rid: "h", scale: 2, maxBitrate: Math.round(maxBitrate * 0.27) };
  const quarter = { rid: "q", scale: 4, maxBitrate: Math.round(maxBitrate * 0.08) };
  if (height >= 720) return [quarter, half, full];
  if (height >= 360) return [half, full];
  return [full];
}

/**
 * Temporal layers that Chromium makes of VP8 and H.264 in several sizes by default.
 */
const USUAL_TEMPORAL_LAYERS = 3;
/** Frames per second. Fewer look like a pause. A guess. */
const LEAST_FRAME_RATE = 5;

/**
 * Returns the limits of each encoding, in the order of `encodings`, for viewers that need `wanted`.
 *
 * Never more than the publisher chose for the largest, nor more of a smaller one than its share of
 * that: a picture of half the lines needs about a third of the bits. Something is always sent.
 */
export function sendingFor(
  { encodings, maxFrameRate, scalabilityMode }: Chosen,
  wanted: WantedLayer[],
): Sending[] {
  const most = encodings.at(-1)?.maxBitrate ?? 0;
  const layerOf = (rid: string): WantedLayer | undefined =>
    encodings.length === 1 ? wanted[0] : wanted.find((layer) => layer.rid === rid);
  // Encodings that differ in their temporal layers would each take an encoder of its own.
  const layers = encodings.map(({ rid }) => layerOf(rid)).filter((layer) => !layer || layer.active);
  const temporal = Math.max(...layers.map((layer) => layer?.max_temporal_layer ?? Infinity));
  const sendings = encodings.map(({ rid, scale, maxBitrate }) => {
    const layer = layerOf(rid);
    const { mode, halvings, slower } = fewerLayers(
      scalabilityMode,
      layer?.max_spatial_layer ?? Infinity,
      temporal,
    );
    const scaled = scale * 2 ** halvings;
    const frameRate = Math.min(maxFrameRate / slower, layer?.max_framerate ?? Infinity);
    return {
      active: layer?.active ?? true,
      maxBitrate: layer
        ? Math.round(Math.min(layer.max_bitrate_bps ?? maxBitrate, most / scaled ** 1.5))
        : maxBitrate,
      maxFrameRate: Math.min(maxFrameRate, Math.max(LEAST_FRAME_RATE, frameRate)),
      scale: scaled,
      scalabilityMode: mode,
    };
  });
  if (sendings[0] && !sendings.some(({ active }) => active)) sendings[0].active = true;
  return sendings;
}

/**
 * The mode without the layers above these, and the changes that keep the remaining layers as they
 * are: the number of times that the picture is halved (a mode's largest layer is the whole
 * picture), and the divisor `slower` of the frame rate.
 */
function fewerLayers(
  mode: string | null,
  maxSpatial: number,
  maxTemporal: number,
): { mode: string | null; halvings: number; slower: number } {
  const [, l = "1", t = String(USUAL_TEMPORAL_LAYERS), kind = ""] =
    /^L(\d)T(\d)(.*)$/.exec(mode ?? "") ?? [];
  const [spatial, temporal] = [
    Math.min(Number(l), maxSpatial + 1),
    Math.min(Number(t), maxTemporal + 1),
  ];
  const [halvings, slower] = [Number(l) - spatial, 2 ** (Number(t) - temporal)];
  if (halvings === 0 && slower === 1) return { mode, halvings, slower };
  return { mode: `L${spatial}T${temporal}${spatial > 1 ? kind : ""}`, halvings, slower };
}
