/** How long ago the left edge is at most, in values: one a second. */
const VALUES = 60;
/** A young line is drawn wider, but not wider than this many values would be. */
const LEAST_VALUES = 12;

/**
 * The last minute of one number, as a small line. Takes its colour from the canvas's CSS `color`.
 */
export class Sparkline {
  readonly #canvas: HTMLCanvasElement;
  #values: (number | null)[] = [];

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    canvas.setAttribute("aria-hidden", "true");
  }

  /** Adds the newest value. */
  push(value: number | null): void {
    // Unknown values before the first known one take no room.
    if (value === null && this.#values.length === 0) return;
    this.#values.push(value);
    if (this.#values.length > VALUES) this.#values.shift();
  }

  draw(): void {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const context = this.#canvas.getContext("2d");
    if (!context || width === 0) return;
    const ratio = Math.min(3, devicePixelRatio || 1);
    this.#canvas.width = width * ratio;
    this.#canvas.height = height * ratio;
    context.scale(ratio, ratio);

    const known = this.#values.filter((value) => value !== null);
    if (known.length < 2) return;
    // From zero, unless the line would be flat at the top: then around its own range.
    const most = Math.max(...known);
    const least = Math.min(...known) > most * 0.5 ? Math.min(...known) * 0.8 : 0;
    const range = Math.max(most - least, 1e-9) * 1.1;
    const step = (width - 4) / (Math.max(LEAST_VALUES, this.#values.length) - 1);
    const x = (index: number): number => width - 2 - (this.#values.length - 1 - index) * step;
    const y = (value: number): number => height - 2 - ((value - least) / range) * (height - 4);

    const colour = getComputedStyle(this.#canvas).color;
    const path = new Path2D();
    const area = new Path2D();
    let from: number | null = null;
    let to = 0;
    this.#values.forEach((value, index) => {
      if (value === null) return;
      if (from === null) {
        from = x(index);
        path.moveTo(from, y(value));
        area.moveTo(from, height);
      } else path.lineTo(x(index), y(value));
      area.lineTo(x(index), y(value));
      to = x(index);
    });
    area.lineTo(to, height);
    area.closePath();
    context.fillStyle = colour;
    context.globalAlpha = 0.14;
    context.fill(area);
    context.globalAlpha = 1;
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.stroke(path);
  }
}
