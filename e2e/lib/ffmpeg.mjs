/** ffmpeg as a WHIP publisher: H.264 and Opus, a key frame every so often whatever anybody asks for. */

import { Child } from "./child.mjs";
import { ClockFrames } from "./clock.mjs";
import { ffmpegPath } from "./python.mjs";
import { until } from "./until.mjs";

export class FfmpegPublisher {
  /**
   * Starts publishing. `keyFrames` is how many frames a group has; `video` replaces the encoder's options.
   */
  static start(endpoint, { width = 1280, height = 720, fps = 30, keyFrames = 60, bitrate = "2M", video, token } = {}) {
    const encoder = video ?? [
      "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-pix_fmt", "yuv420p",
      "-b:v", bitrate, "-maxrate", bitrate, "-bufsize", bitrate,
      "-g", String(keyFrames), "-keyint_min", String(keyFrames), "-sc_threshold", "0",
    ];
    const args = [
      "-hide_banner", "-loglevel", "warning", "-nostats",
      "-use_wallclock_as_timestamps", "1",
      "-f", "rawvideo", "-pix_fmt", "yuv420p", "-video_size", `${width}x${height}`, "-framerate", String(fps), "-i", "pipe:0",
      "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
      "-map", "0:v", "-map", "1:a",
      ...encoder,
      "-c:a", "libopus", "-ac", "2", "-b:a", "64k",
      ...(token ? ["-authorization", token] : []),
      "-f", "whip", endpoint,
    ];
    const publisher = new FfmpegPublisher();
    publisher.child = new Child(ffmpegPath(), args, { stdio: ["pipe", "pipe", "pipe"] });
    publisher.#draw(new ClockFrames(width, height), fps);
    return publisher;
  }

  #draw(frames, fps) {
    const { stdin } = this.child.process;
    const period = 1000 / fps;
    let due = performance.now();
    const draw = () => {
      if (this.child.exit || stdin.destroyed) return;
      due = Math.max(due + period, performance.now() - period);
      // A full pipe: rather skip a frame than send an old one.
      if (!stdin.writableNeedDrain) stdin.write(Buffer.from(frames.next()));
      this.timer = setTimeout(draw, Math.max(0, due - performance.now()));
    };
    draw();
  }

  /** Waits until the server calls the stream live, with a picture. */
  async live(server, stream) {
    return await until(
      `ffmpeg publishes ${stream}`,
      async () => {
        if (this.child.exit) throw new Error(`ffmpeg ended: ${JSON.stringify(this.child.exit)}\n${this.child.tail()}`);
        const status = await server.stream(stream);
        return status?.state === "live" && status.video?.codec ? status : null;
      },
      { within: 60_000, describe: () => this.child.tail(8) },
    );
  }

  async stop(signal = "SIGTERM") {
    clearTimeout(this.timer);
    return await this.child.stop(signal);
  }
}
