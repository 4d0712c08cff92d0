/**
 * Draws the clock strip of web/src/client/ClockStrip.ts into raw frames: written from its description, so
 * that the pages' reader is tested against a second writer.
 */

const CELLS = 64;

/** The 64 cells that say `epochMs`; 1 is white. */
export function clockCells(epochMs) {
  const bytes = [5, 4, 3, 2, 1, 0].map((byte) => Math.floor(Math.floor(epochMs) / 256 ** byte) % 256);
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : crc << 1;
  }
  const bits = [...bytes, crc].flatMap((byte) => [7, 6, 5, 4, 3, 2, 1, 0].map((bit) => (byte >> bit) & 1));
  return [1, 0, 1, 0, ...bits, 0, 1, 0, 1];
}

/** Makes yuv420p frames: a texture that pans, and the clock. */
export class ClockFrames {
  #texture;
  #frame;
  #count = 0;

  constructor(width, height) {
    this.width = width;
    this.height = height;
    // Twice as wide as the picture, and it wraps around.
    this.#texture = Buffer.alloc(width * 2 * height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width * 2; x++) {
        const wave = Math.sin((x / width) * 2 * Math.PI * 3) * 40 + Math.sin(y / 23) * 30;
        const blocks = ((x >> 5) ^ (y >> 5)) & 1 ? 20 : -20;
        this.#texture[y * width * 2 + x] = 120 + wave + blocks;
      }
    }
    this.#frame = Buffer.alloc((width * height * 3) / 2, 128);
  }

  /** The next frame, drawn now. The buffer is the same each time. */
  next(epochMs = performance.timeOrigin + performance.now()) {
    const { width, height } = this;
    const shift = (this.#count++ * 4) % width;
    const strip = Math.max(2, Math.round(height / 18));
    for (let y = 0; y < height - strip; y++) {
      const from = y * width * 2 + shift;
      this.#texture.copy(this.#frame, y * width, from, from + width);
    }
    const line = Buffer.alloc(width);
    clockCells(epochMs).forEach((cell, index) => {
      line.fill(cell ? 235 : 16, Math.round((index * width) / CELLS), Math.round(((index + 1) * width) / CELLS));
    });
    for (let y = height - strip; y < height; y++) line.copy(this.#frame, y * width);
    return this.#frame;
  }
}
