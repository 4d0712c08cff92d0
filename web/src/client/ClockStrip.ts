/**
 * A clock that machines read: the current time as black and white blocks along the bottom of a
 * picture.
 *
 * It survives lossy codecs and scaling, so that a test reads from a played frame when it was drawn,
 * and so knows the glass-to-glass delay of the picture itself.
 *
 * The strip is {@link CELLS} equal cells across the whole width, {@link HEIGHT} of the picture's
 * height:
 *
 *     cell   0..3    guard: white black white black
 *     cell   4..51   48 bits: ms since the Unix epoch, most significant first, white is 1
 *     cell  52..59   CRC-8 (polynomial 0x07) over the six bytes of the clock
 *     cell  60..63   guard: black white black white
 *
 * At 1280×720 a cell is 20×40 pixels. The guards tell what black and white have become.
 */

/** Cells across the width. */
export const CELLS = 64;
/** Height of the strip as a share of the picture's height. */
export const HEIGHT = 1 / 18;

const GUARD_LEFT = [1, 0, 1, 0];
const GUARD_RIGHT = [0, 1, 0, 1];
const WHITE_GUARDS = [0, 2, 61, 63];
const BLACK_GUARDS = [1, 3, 60, 62];
const CLOCK_BITS = 48;
const CHECK_BITS = 8;

/**
 * How far apart black and white must be (of 255) to be told apart. A guess with much room: noise is
 * < 20.
 */
const MIN_CONTRAST = 64;

/** Part of a picture, in pixels. */
export interface Rectangle {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The parts of `ImageData` that reading needs; plain enough for tests without a browser. */
export interface Pixels {
  /** RGBA, row by row. */
  data: ArrayLike<number>;
  width: number;
  height: number;
}

/** Where the strip is in a picture of this size. */
export function stripRectangle(width: number, height: number): Rectangle {
  const strip = Math.max(2, Math.round(height * HEIGHT));
  return { x: 0, y: height - strip, width, height: strip };
}

/** The cells that say `epochMs`: `true` is white. */
export function encodeClock(epochMs: number): boolean[] {
  const bytes = clockBytes(Math.floor(epochMs));
  const bits = (byte: number): number[] =>
    Array.from({ length: 8 }, (_, bit) => (byte >> (7 - bit)) & 1);
  return [...GUARD_LEFT, ...bytes.flatMap(bits), ...bits(crc8(bytes)), ...GUARD_RIGHT].map(
    (bit) => bit === 1,
  );
}

/** Draws the strip that says `epochMs` onto a picture of this size. */
export function drawClock(
  context: CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D,
  width: number,
  height: number,
  epochMs: number,
): void {
  const strip = stripRectangle(width, height);
  context.fillStyle = "#000";
  context.fillRect(strip.x, strip.y, strip.width, strip.height);
  context.fillStyle = "#fff";
  encodeClock(epochMs).forEach((white, cell) => {
    if (!white) return;
    const left = Math.round((cell * width) / CELLS);
    const right = Math.round(((cell + 1) * width) / CELLS);
    context.fillRect(left, strip.y, right - left, strip.height);
  });
}

/**
 * Reads the clock from a whole picture, at whatever size. Returns epoch milliseconds, or `null` if
 * there is none.
 */
export function readClock(picture: Pixels): number | null {
  return readStrip(picture, stripRectangle(picture.width, picture.height));
}

/** Reads the clock where `strip` says it is; the whole of `picture` by default. */
export function readStrip(
  picture: Pixels,
  strip: Rectangle = { x: 0, y: 0, width: picture.width, height: picture.height },
): number | null {
  const cells = Array.from({ length: CELLS }, (_, cell) => cellBrightness(picture, strip, cell));
  const white = Math.min(...WHITE_GUARDS.map((cell) => cells[cell] ?? 0));
  const black = Math.max(...BLACK_GUARDS.map((cell) => cells[cell] ?? 255));
  if (white - black < MIN_CONTRAST) return null;

  const threshold = (white + black) / 2;
  const bits = cells
    .slice(GUARD_LEFT.length, -GUARD_RIGHT.length)
    .map((cell) => (cell > threshold ? 1 : 0));
  const clock = bits.slice(0, CLOCK_BITS).reduce<number>((sum, bit) => sum * 2 + bit, 0);
  const check = bits
    .slice(CLOCK_BITS, CLOCK_BITS + CHECK_BITS)
    .reduce<number>((sum, bit) => sum * 2 + bit, 0);
  return crc8(clockBytes(clock)) === check ? clock : null;
}

/** Mean of the green channel over the middle of a cell, away from edges that a codec blurs. */
function cellBrightness(picture: Pixels, strip: Rectangle, cell: number): number {
  const cellWidth = strip.width / CELLS;
  const left = Math.floor(strip.x + cellWidth * (cell + 0.3));
  const right = Math.max(left + 1, Math.ceil(strip.x + cellWidth * (cell + 0.7)));
  const top = Math.floor(strip.y + strip.height * 0.3);
  const bottom = Math.max(top + 1, Math.ceil(strip.y + strip.height * 0.7));
  let sum = 0;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) sum += picture.data[(y * picture.width + x) * 4 + 1] ?? 0;
  }
  return sum / ((right - left) * (bottom - top));
}

/** The six bytes of a 48-bit clock. Bit operators would cut it to 32 bits. */
function clockBytes(epochMs: number): number[] {
  return [5, 4, 3, 2, 1, 0].map((byte) => Math.floor(epochMs / 256 ** byte) % 256);
}

function crc8(bytes: number[]): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : crc << 1;
  }
  return crc;
}
