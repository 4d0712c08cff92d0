import { TestPicture } from "../client/TestPicture";
import type { Settings } from "./settings";

/** An open camera, screen or test picture: its tracks, and their end. */
export class Source {
  readonly kind: Settings["source"];
  readonly video: MediaStreamTrack | null;
  readonly audio: MediaStreamTrack | null;
  /**
   * The user ended it outside the page: unplugged the camera, pressed the browser's "Stop sharing".
   */
  onended: () => void = () => {};
  readonly #picture: TestPicture | null;

  private constructor(
    kind: Settings["source"],
    video: MediaStreamTrack | null,
    audio: MediaStreamTrack | null,
    picture: TestPicture | null = null,
  ) {
    this.kind = kind;
    this.video = video;
    this.audio = audio;
    this.#picture = picture;
    for (const track of [video, audio]) track?.addEventListener("ended", () => this.onended());
  }

  /**
   * Opens what the settings ask for. Throws what the browser throws; {@link mediaProblem} says it
   * in words.
   */
  static async open(settings: Settings, title: string): Promise<Source> {
    switch (settings.source) {
      case "test":
        return Source.#testPicture(settings, title);
      case "screen":
        return Source.#screen(settings);
      case "camera":
        return Source.#camera(settings);
    }
  }

  static #testPicture({ height, frameRate, sound }: Settings, title: string): Source {
    const picture = new TestPicture({ height, frameRate, title });
    picture.video.contentHint = "motion";
    return new Source("test", picture.video, sound ? picture.audio : null, picture);
  }

  static async #screen({ height, frameRate, sound }: Settings): Promise<Source> {
    const stream = await devices().getDisplayMedia({
      video: { frameRate: { max: frameRate }, height: { max: height } },
      audio: sound,
    });
    const [video = null] = stream.getVideoTracks();
    if (video) video.contentHint = "detail";
    return new Source("screen", video, stream.getAudioTracks()[0] ?? null);
  }

  static async #camera({
    height,
    frameRate,
    sound,
    camera,
    microphone,
  }: Settings): Promise<Source> {
    const stream = await devices().getUserMedia({
      video: {
        ...(camera === null ? { facingMode: "user" } : { deviceId: { exact: camera } }),
        height: { ideal: height },
        width: { ideal: Math.round((height * 16) / 9) },
        frameRate: { ideal: frameRate },
      },
      audio: sound
        ? {
            ...(microphone === null ? {} : { deviceId: { exact: microphone } }),
            echoCancellation: true,
          }
        : false,
    });
    const [video = null] = stream.getVideoTracks();
    if (video) video.contentHint = "motion";
    return new Source("camera", video, stream.getAudioTracks()[0] ?? null);
  }

  get stream(): MediaStream {
    return new MediaStream([this.video, this.audio].filter((track) => track !== null));
  }

  /** The user has touched the page: sound may start. */
  resume(): void {
    this.#picture?.resume();
  }

  stop(): void {
    this.onended = () => {};
    this.#picture?.stop();
    this.video?.stop();
    this.audio?.stop();
  }
}

/** Browsers hide cameras and screens from pages that came without https. */
function devices(): MediaDevices {
  if (!isSecureContext || !navigator.mediaDevices)
    throw new DOMException("insecure page", "SecurityError");
  return navigator.mediaDevices;
}
