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

/** What to send of an encoding. */
export interface Sending {
  active: boolean;
  /** Bits per second. */
  maxBitrate: number;
}

/**
 * The sizes to send for a picture of `height` lines that may take `maxBitrate`, smallest first.
 *
 * A quarter of the pixels needs a bit more than a quarter of the bits. Below some 180 lines nobody recognises anything.
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
 * What to send of `encodings`, in their order, if the audience has use for `wanted`.
 *
 * Never more than the publisher chose for the largest, nor more of a smaller one than its share of that: a picture of
 * half the lines needs about a third of the bits. Something is always sent.
 */
export function sendingFor(encodings: Encoding[], wanted: WantedLayer[]): Sending[] {
  const most = encodings.at(-1)?.maxBitrate ?? 0;
  const sendings = encodings.map(({ rid, scale, maxBitrate }) => {
    const layer = wanted.find((each) => each.rid === rid);
    if (!layer) return { active: true, maxBitrate };
    return { active: layer.active, maxBitrate: Math.round(Math.min(layer.max_bitrate_bps, most / scale ** 1.5)) };
  });
  if (sendings[0] && !sendings.some(({ active }) => active)) sendings[0].active = true;
  return sendings;
}
