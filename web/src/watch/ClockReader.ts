import { readStrip, stripRectangle } from "../client/ClockStrip";
import { localNow } from "../client/ServerClock";

/** The time in the test picture on screen, beside the time of this computer. */
export interface ClockReading {
  /** When the frame was drawn, ms since the Unix epoch. */
  clockMs: number;
  /** When it was read here. */
  nowMs: number;
  /** Glass to glass, as long as both clocks are the same machine's. */
  delayMs: number;
}

/** Frames are read at this width: 10 pixels a cell. */
const WIDTH = 640;
const HEIGHT = 16;

/** Reads {@link drawClock}'s strip from the playing video. */
export class ClockReader {
  readonly #video: HTMLVideoElement;
  #context: CanvasRenderingContext2D | null = null;

  constructor(video: HTMLVideoElement) {
    this.#video = video;
  }

  /** `null` if there is no picture, or no clock in it. */
  read(): ClockReading | null {
    const { videoWidth, videoHeight } = this.#video;
    if (videoWidth === 0) return null;
    const nowMs = localNow();
    const context = (this.#context ??= surface());
    const strip = stripRectangle(videoWidth, videoHeight);
    context.drawImage(
      this.#video,
      strip.x,
      strip.y,
      strip.width,
      strip.height,
      0,
      0,
      WIDTH,
      HEIGHT,
    );
    const clockMs = readStrip(context.getImageData(0, 0, WIDTH, HEIGHT));
    return clockMs === null ? null : { clockMs, nowMs, delayMs: nowMs - clockMs };
  }

  /** Delays of the next `frames` frames, each taken when the browser expects it on screen. */
  glassToGlass(frames: number): Promise<number[]> {
    return new Promise((resolve) => {
      const delays: number[] = [];
      let tries = 0;
      const onframe: VideoFrameRequestCallback = (_now, { expectedDisplayTime }) => {
        const reading = this.read();
        const shownAt = performance.timeOrigin + Math.max(expectedDisplayTime, performance.now());
        if (reading) delays.push(Math.max(shownAt, reading.nowMs) - reading.clockMs);
        tries += 1;
        if (delays.length >= frames || tries >= frames * 2) return resolve(delays);
        this.#video.requestVideoFrameCallback(onframe);
      };
      this.#video.requestVideoFrameCallback(onframe);
    });
  }
}

function surface(): CanvasRenderingContext2D {
  const canvas = document.createElement("canvas");
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  if (!context) throw new Error("This browser cannot draw (no 2D canvas).");
  return context;
}
