/** Measurements of one connection since the last sample. `null`: not known. */
export interface StatsSample {
  /** Video and audio, bits per second. */
  bitrate: number | null;
  videoBitrate: number | null;
  audioBitrate: number | null;
  frameRate: number | null;
  width: number | null;
  height: number | null;
  /** For example `VP8`. */
  codec: string | null;
  audioCodec: string | null;
  /** Packets lost on the way, in percent, before repair where the browser can tell. */
  lossPercent: number | null;
  /** How long the browser held pictures back, in ms. */
  jitterBufferMs: number | null;
  /** Since the start. */
  freezes: number | null;
  /** Since the start. */
  freezeMs: number | null;
  rttMs: number | null;
  /** The limit of the encoder, while sending (webrtc-stats, qualityLimitationReason). */
  limitation: "none" | "cpu" | "bandwidth" | "other" | null;
}

type Report = Record<string, string | number | undefined>;

/**
 * Samples `getStats` of one peer connection, sending or receiving, and turns counters into rates.
 */
export class Stats {
  #peer: RTCPeerConnection | null = null;
  #last = new Map<string, number>();
  #lastAt = 0;

  /** Takes a sample. Rates are over the time since the last one of the same connection. */
  async sample(peer: RTCPeerConnection): Promise<StatsSample> {
    const reports = await peer.getStats();
    const now = performance.now();
    if (peer !== this.#peer) {
      this.#peer = peer;
      this.#last = new Map();
      this.#lastAt = 0;
    }
    const seconds = this.#lastAt === 0 ? 0 : (now - this.#lastAt) / 1000;
    this.#lastAt = now;

    const all: Report[] = [];
    reports.forEach((report) => all.push(report as Report));
    const find = (type: string, kind: string): Report | undefined =>
      all.find((report) => report["type"] === type && report["kind"] === kind);
    const sent = all.filter(
      (report) => report["type"] === "outbound-rtp" && report["kind"] === "video",
    );
    const video = find("inbound-rtp", "video") ?? largest(sent);
    const audio = find("inbound-rtp", "audio") ?? find("outbound-rtp", "audio");
    const remote = find("remote-inbound-rtp", "video") ?? find("remote-inbound-rtp", "audio");

    const rates = (sent.length > 0 ? sent : [video]).map((each) =>
      this.#rate(each, ["bytesReceived", "bytesSent"], seconds, 8),
    );
    const videoBitrate = rates.every((rate) => rate === null)
      ? null
      : rates.reduce<number>((sum, rate) => sum + (rate ?? 0), 0);
    const audioBitrate = this.#rate(audio, ["bytesReceived", "bytesSent"], seconds, 8);
    const main = video ?? audio;
    const lost = this.#delta(main, "packetsLost");
    const received = this.#delta(main, "packetsReceived");
    const held = this.#delta(video, "jitterBufferDelay");
    const shown = this.#delta(video, "jitterBufferEmittedCount");
    const freezeSeconds = number(video, "totalFreezesDuration");
    const rtt =
      number(selectedPair(all), "currentRoundTripTime") ?? number(remote, "roundTripTime");
    const fractionLost = number(remote, "fractionLost");

    return {
      bitrate:
        videoBitrate === null && audioBitrate === null
          ? null
          : (videoBitrate ?? 0) + (audioBitrate ?? 0),
      videoBitrate,
      audioBitrate,
      frameRate: number(video, "framesPerSecond"),
      width: number(video, "frameWidth"),
      height: number(video, "frameHeight"),
      codec: codecName(reports, video),
      audioCodec: codecName(reports, audio),
      lossPercent:
        fractionLost !== null
          ? fractionLost * 100
          : lost !== null && received !== null && lost + received > 0
            ? Math.max(0, (lost / (lost + received)) * 100)
            : null,
      jitterBufferMs: held !== null && shown !== null && shown > 0 ? (held / shown) * 1000 : null,
      freezes: number(video, "freezeCount"),
      freezeMs: freezeSeconds === null ? null : freezeSeconds * 1000,
      rttMs: rtt === null ? null : rtt * 1000,
      limitation: (video?.["qualityLimitationReason"] as StatsSample["limitation"]) ?? null,
    };
  }

  #rate(
    report: Report | undefined,
    keys: string[],
    seconds: number,
    factor: number,
  ): number | null {
    for (const key of keys) {
      const delta = this.#delta(report, key);
      if (delta !== null && seconds > 0) return (Math.max(0, delta) * factor) / seconds;
    }
    return null;
  }

  /** Returns the growth of a counter since the last sample; `null` at the first. */
  #delta(report: Report | undefined, key: string): number | null {
    const value = number(report, key);
    if (value === null) return null;
    const id = `${report?.["id"]}.${key}`;
    const last = this.#last.get(id);
    this.#last.set(id, value);
    return last === undefined ? null : value - last;
  }
}

/** Of a simulcast, the largest picture that is being sent. */
function largest(sent: Report[]): Report | undefined {
  const lines = (report: Report): number =>
    (number(report, "framesPerSecond") ?? 0) > 0 ? (number(report, "frameHeight") ?? 0) : 0;
  return sent.reduce<Report | undefined>(
    (best, each) => (best && lines(best) >= lines(each) ? best : each),
    undefined,
  );
}

function number(report: Report | undefined, key: string): number | null {
  const value = report?.[key];
  return typeof value === "number" ? value : null;
}

function codecName(reports: RTCStatsReport, report: Report | undefined): string | null {
  const id = report?.["codecId"];
  if (typeof id !== "string") return null;
  const codec = reports.get(id) as Report | undefined;
  const type = codec?.["mimeType"];
  return typeof type === "string" ? (type.split("/")[1] ?? null) : null;
}

function selectedPair(all: Report[]): Report | undefined {
  const id = all.find((report) => report["type"] === "transport")?.["selectedCandidatePairId"];
  const pairs = all.filter((report) => report["type"] === "candidate-pair");
  return (
    pairs.find((pair) => pair["id"] === id) ?? pairs.find((pair) => pair["state"] === "succeeded")
  );
}
