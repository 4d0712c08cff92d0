/** Pictures and sound as plain RTP at two UDP ports of this machine, for senders that have no encoder of their own. */

import { Child } from "./child.mjs";
import { freeUdpPort } from "./impair.mjs";
import { ffmpegPath } from "./python.mjs";

/** What ffmpeg encodes with: a key frame a second, because nothing hears requests for one. */
const ENCODERS = {
  VP8: ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"],
  H264: ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-pix_fmt", "yuv420p"],
};

export class RtpSource {
  static PAYLOAD_TYPES = { video: 96, audio: 111 };

  /** Chooses the ports. Begin with `start` when there are sockets bound to them. */
  static async open() {
    const source = new RtpSource();
    [source.videoPort, source.audioPort] = [await freeUdpPort(), await freeUdpPort()];
    return source;
  }

  start(codec) {
    const { video, audio } = RtpSource.PAYLOAD_TYPES;
    const input = (what) => ["-re", "-f", "lavfi", "-i", what];
    const output = (payloadType, port) => ["-payload_type", String(payloadType), "-f", "rtp", `rtp://127.0.0.1:${port}?pkt_size=1200`];
    this.child = new Child(ffmpegPath(), [
      "-hide_banner", "-loglevel", "warning", "-nostats",
      ...input("testsrc=size=320x240:rate=25"), ...input("sine=frequency=440:sample_rate=48000"),
      "-map", "0:v", ...ENCODERS[codec], "-b:v", "400k", "-g", "25", ...output(video, this.videoPort),
      "-map", "1:a", "-c:a", "libopus", "-ac", "2", "-b:a", "64k", ...output(audio, this.audioPort),
    ]);
  }

  async stop() {
    await this.child?.stop();
  }
}
