/** One of the sizes in which a publisher sends the same picture (simulcast, RFC 8853). */
export interface Encoding {
  /** Its name: `f`ull, `h`alf, `q`uarter. */
  rid: string;
  /** How much smaller than the source, in each direction. */
  scale: number;
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
