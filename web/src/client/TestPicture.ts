import { drawClock } from "./ClockStrip";
import { localNow } from "./ServerClock";
import { Ticker } from "./Ticker";

/** Drawn in these units, whatever the size of the picture. */
const WIDTH = 1280;
const HEIGHT = 720;

/** 75 % colour bars, the order of the classics: by falling brightness. */
const BARS = ["#c4c7cf", "#c9c13f", "#35bfc4", "#3fb950", "#bd4fc0", "#d64550", "#3d5bd9"];
const INK = "#eef1f8";
const DIM = "#8b96ad";
const LIVE = "#ff4d61";
const MONO =
  'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace';
const SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

/** The dial. */
const CENTRE = { x: 268, y: 424, radius: 196 };
/** A beep is short enough to hear where it starts, and long enough to hear. */
const BEEP_SECONDS = 0.08;
/** The flash lasts as long as the beep. */
const FLASH_MS = BEEP_SECONDS * 1000;

/** Where Chromium takes frames that no camera made. */
interface TrackGenerator extends MediaStreamTrack {
  readonly writable: WritableStream<VideoFrame>;
}
declare const MediaStreamTrackGenerator:
  (new (init: { kind: "video" }) => TrackGenerator) | undefined;

/** The object that takes a frame of a canvas: its track or its stream, by browser. */
type ByHand = (MediaStreamTrack | MediaStream) & { requestFrame?(): void };

/** Size, rate and title of the picture. */
export interface TestPictureOptions {
  /** Lines; 720 gives 1280×720. */
  height: number;
  frameRate: number;
  /** Shown in the picture. */
  title: string;
}

/**
 * A moving picture and a beep a second, made here: a publisher without a camera.
 *
 * Along the bottom it carries the time of each frame for machines, see {@link drawClock}.
 */
export class TestPicture {
  readonly video: MediaStreamTrack;
  /** `null` where the browser has no WebAudio. */
  readonly audio: MediaStreamTrack | null;
  readonly canvas: HTMLCanvasElement;

  readonly #context: CanvasRenderingContext2D;
  readonly #card: HTMLCanvasElement;
  readonly #ticker: Ticker;
  readonly #emit: () => void;
  #sound: { context: AudioContext; gain: GainNode } | null = null;
  #frames = 0;
  #beepAt = 0;

  constructor(options: TestPictureOptions) {
    this.canvas = document.createElement("canvas");
    this.canvas.height = options.height;
    // Even, as encoders want it.
    this.canvas.width = Math.round((options.height * WIDTH) / HEIGHT / 2) * 2;
    const context = this.canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    if (!context) throw new Error("This browser cannot draw (no 2D canvas).");
    this.#context = context;
    this.#card = drawCard(this.canvas.width, this.canvas.height, options);
    this.#draw(localNow());
    [this.video, this.#emit] = trackFrom(this.canvas, options.frameRate);
    this.audio = this.#startSound();
    this.#ticker = new Ticker(() => this.#tick());
    this.#ticker.start(options.frameRate);
  }

  /**
   * Lets the beeps be heard by viewers: browsers keep sound off until the user has touched the
   * page.
   */
  resume(): void {
    void this.#sound?.context.resume();
  }

  stop(): void {
    this.#ticker.stop();
    this.video.stop();
    this.audio?.stop();
    void this.#sound?.context.close();
  }

  #tick(): void {
    const now = localNow();
    this.#draw(now);
    this.#emit();
    this.#beep(now);
  }

  #draw(now: number): void {
    const context = this.#context;
    const scale = this.canvas.height / HEIGHT;
    this.#frames += 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(this.#card, 0, 0);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    drawDial(context, now);
    drawTime(context, now, this.#frames);
    drawBall(context, now);
    context.setTransform(1, 0, 0, 1, 0, 0);
    drawClock(context, this.canvas.width, this.canvas.height, now);
  }

  #startSound(): MediaStreamTrack | null {
    try {
      const context = new AudioContext({ latencyHint: "interactive" });
      const destination = context.createMediaStreamDestination();
      const gain = context.createGain();
      gain.gain.value = 0;
      const tone = context.createOscillator();
      tone.frequency.value = 1000;
      tone.connect(gain).connect(destination);
      tone.start();
      this.#sound = { context, gain };
      return destination.stream.getAudioTracks()[0] ?? null;
    } catch {
      return null;
    }
  }

  /** Sets the beep of the coming second a little ahead, so that it starts on the sample. */
  #beep(now: number): void {
    const next = Math.ceil(now / 1000) * 1000;
    if (!this.#sound || next === this.#beepAt || next - now > 150) return;
    this.#beepAt = next;
    const { context, gain } = this.#sound;
    const at = context.currentTime + (next - now) / 1000;
    // Quiet, −20 dB; the ramps keep it from clicking.
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(0.1, at + 0.005);
    gain.gain.setValueAtTime(0.1, at + BEEP_SECONDS - 0.01);
    gain.gain.linearRampToValueAtTime(0, at + BEEP_SECONDS);
  }
}

/** A track that shows the canvas, and the function that says that a new picture is on it. */
function trackFrom(canvas: HTMLCanvasElement, frameRate: number): [MediaStreamTrack, () => void] {
  if (typeof MediaStreamTrackGenerator !== "undefined" && typeof VideoFrame !== "undefined") {
    // The only way that also works while the page is hidden: canvases are captured when they are
    // painted.
    const track = new MediaStreamTrackGenerator({ kind: "video" });
    const writer = track.writable.getWriter();
    let waiting = 0;
    return [
      track,
      () => {
        if (waiting > 2) return; // The encoder takes none: skipped frames do not pile up.
        const frame = new VideoFrame(canvas, { timestamp: Math.round(performance.now() * 1000) });
        waiting += 1;
        writer
          .write(frame)
          .catch(() => frame.close())
          .finally(() => (waiting -= 1));
      },
    ];
  }
  // The standard has `requestFrame` on the track, Firefox on the stream. A stream that is given a
  // frame rate is captured on every n-th repaint: 30 frames a second of a screen with 60 become 20.
  const stream: ByHand = canvas.captureStream(0);
  const byHand: ByHand | undefined = stream.getVideoTracks()[0];
  const taker = [byHand, stream].find((each) => each?.requestFrame);
  if (byHand && taker) return [byHand as MediaStreamTrack, () => taker.requestFrame?.()];
  const track = canvas.captureStream(frameRate).getVideoTracks()[0];
  if (!track) throw new Error("This browser cannot capture a canvas.");
  return [track, () => {}];
}

/** All that stands still. */
function drawCard(
  width: number,
  height: number,
  { title, frameRate }: TestPictureOptions,
): HTMLCanvasElement {
  const card = document.createElement("canvas");
  card.width = width;
  card.height = height;
  const context = card.getContext("2d", { alpha: false });
  if (!context) return card;
  context.scale(height / HEIGHT, height / HEIGHT);

  context.fillStyle = "#10131b";
  context.fillRect(0, 0, WIDTH, HEIGHT);
  context.strokeStyle = "#1b202c";
  context.lineWidth = 2;
  for (let x = 40; x < WIDTH; x += 80) line(context, x, 168, x, 680);
  for (let y = 200; y < 680; y += 80) line(context, 0, y, WIDTH, y);

  const bar = WIDTH / BARS.length;
  BARS.forEach((colour, index) => {
    context.fillStyle = colour;
    context.fillRect(Math.floor(index * bar), 0, Math.ceil(bar) + 1, 132);
  });
  const ramp = context.createLinearGradient(0, 0, WIDTH, 0);
  ramp.addColorStop(0, "#000");
  ramp.addColorStop(1, "#fff");
  context.fillStyle = ramp;
  context.fillRect(0, 132, WIDTH, 36);

  const { x, y, radius } = CENTRE;
  context.fillStyle = "#0b0e14";
  circle(context, x, y, radius);
  context.fill();
  context.strokeStyle = INK;
  context.lineWidth = 4;
  circle(context, x, y, radius);
  context.stroke();
  for (let tick = 0; tick < 60; tick++) {
    const angle = (tick / 60) * 2 * Math.PI;
    const long = tick % 5 === 0;
    context.strokeStyle = long ? INK : "#4a546a";
    context.lineWidth = long ? 5 : 3;
    const inner = radius - (long ? 30 : 20);
    line(
      context,
      x + Math.sin(angle) * inner,
      y - Math.cos(angle) * inner,
      x + Math.sin(angle) * (radius - 10),
      y - Math.cos(angle) * (radius - 10),
    );
  }

  context.textBaseline = "alphabetic";
  context.fillStyle = DIM;
  context.font = `600 24px ${SANS}`;
  context.fillText("NOWCAST TEST PICTURE", 520, 254);
  context.fillStyle = INK;
  context.font = `700 60px ${SANS}`;
  context.fillText(title, 520, 322, WIDTH - 560);
  context.fillStyle = DIM;
  context.font = `500 26px ${SANS}`;
  context.fillText(`${width}×${height} at ${frameRate} frames a second`, 520, 520);
  return card;
}

/** One turn a second for the hand, and a flash with the beep when it passes the top. */
function drawDial(context: CanvasRenderingContext2D, now: number): void {
  const { x, y, radius } = CENTRE;
  const angle = ((now % 1000) / 1000) * 2 * Math.PI;

  const trail = context.createConicGradient(angle - Math.PI / 2, x, y);
  trail.addColorStop(0, "rgba(255, 77, 97, 0)");
  trail.addColorStop(0.7, "rgba(255, 77, 97, 0)");
  trail.addColorStop(1, "rgba(255, 77, 97, 0.75)");
  context.fillStyle = trail;
  circle(context, x, y, radius - 38);
  context.fill();

  context.strokeStyle = LIVE;
  context.lineWidth = 8;
  context.lineCap = "round";
  line(context, x, y, x + Math.sin(angle) * (radius - 42), y - Math.cos(angle) * (radius - 42));
  context.fillStyle = now % 1000 < FLASH_MS ? "#fff" : LIVE;
  circle(context, x, y, now % 1000 < FLASH_MS ? 54 : 20);
  context.fill();
}

function drawTime(context: CanvasRenderingContext2D, now: number, frames: number): void {
  const date = new Date(now);
  const two = (value: number): string => String(value).padStart(2, "0");
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  context.textBaseline = "alphabetic";
  context.font = `700 92px ${MONO}`;
  context.fillStyle = INK;
  context.fillText(time, 516, 440);
  context.fillStyle = LIVE;
  context.fillText(
    `.${String(date.getMilliseconds()).padStart(3, "0")}`,
    516 + context.measureText(time).width,
    440,
  );
  context.font = `500 26px ${MONO}`;
  context.fillStyle = DIM;
  context.fillText(`frame ${String(frames).padStart(6, "0")}`, 520, 562);
}

/** Even motion from side to side: every dropped frame shows. */
function drawBall(context: CanvasRenderingContext2D, now: number): void {
  const left = 540;
  const right = WIDTH - 60;
  context.strokeStyle = "#2a3142";
  context.lineWidth = 6;
  context.lineCap = "round";
  line(context, left, 624, right, 624);
  const phase = (now % 4000) / 2000;
  context.fillStyle = INK;
  circle(context, left + (right - left) * (phase < 1 ? phase : 2 - phase), 624, 18);
  context.fill();
}

function line(
  context: CanvasRenderingContext2D,
  x1: number,
  y1: number,
  x2: number,
  y2: number,
): void {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

function circle(context: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}
