/** Wide enough for a picture that is shown dimmed and blurred. */
const WIDTH = 480;

/** The last picture of a video. A browser shows black once a connection is gone. */
export class Still {
  readonly #canvas: HTMLCanvasElement;
  readonly #video: HTMLVideoElement;

  constructor(canvas: HTMLCanvasElement, video: HTMLVideoElement) {
    this.#canvas = canvas;
    this.#video = video;
  }

  /** Keeps the picture that is on screen now. */
  keep(): void {
    const { videoWidth, videoHeight } = this.#video;
    if (videoWidth === 0) return;
    this.#canvas.width = WIDTH;
    this.#canvas.height = Math.round((WIDTH * videoHeight) / videoWidth);
    this.#canvas
      .getContext("2d", { alpha: false })
      ?.drawImage(this.#video, 0, 0, WIDTH, this.#canvas.height);
  }
}
