import type { ViewerReport } from "../client/Api";
import type { StatsSample } from "../client/Stats";
import { byId, inside, say } from "../ui/dom";
import * as format from "../ui/format";
import { Sparkline } from "../ui/Sparkline";

/** One number with its line. */
interface Fact {
  label: string;
  text: (sample: StatsSample) => string;
  /** For the line; none for words. */
  value?: (sample: StatsSample) => number | null;
  /** Whether the value deserves attention. */
  isBad?: (sample: StatsSample) => boolean;
}

const FACTS: Fact[] = [
  { label: "Bitrate", text: (s) => format.bitrate(s.bitrate), value: (s) => s.bitrate },
  { label: "Frame rate", text: (s) => format.frameRate(s.frameRate), value: (s) => s.frameRate },
  {
    label: "Buffer",
    text: (s) => format.milliseconds(s.jitterBufferMs),
    value: (s) => s.jitterBufferMs,
  },
  { label: "Round trip", text: (s) => format.milliseconds(s.rttMs), value: (s) => s.rttMs },
  {
    label: "Loss",
    text: (s) => format.percent(s.lossPercent),
    value: (s) => s.lossPercent,
    isBad: (s) => (s.lossPercent ?? 0) > 2,
  },
  {
    label: "Freezes",
    text: (s) =>
      s.freezes
        ? `${s.freezes} · ${format.milliseconds(s.freezeMs)}`
        : format.milliseconds(s.freezes).replace(" ms", ""),
    value: (s) => s.freezes,
  },
  { label: "Picture", text: (s) => format.size(s.width, s.height) },
  {
    label: "Codecs",
    text: (s) => [s.codec, s.audioCodec].filter(Boolean).map(format.codec).join(" · ") || "–",
  },
];

/**
 * Shows how good it is: the delay big, the rest as small numbers with the last minute behind them.
 */
export class QualityOverlay {
  /** From asking for the stream to its first picture. */
  firstFrameMs: number | null = null;

  readonly #element: HTMLElement;
  readonly #delayLine = new Sparkline(byId<HTMLCanvasElement>("delay-line"));
  readonly #facts: { fact: Fact; element: HTMLElement; value: Element; line: Sparkline | null }[];

  constructor(element: HTMLElement, list: HTMLElement, template: HTMLTemplateElement) {
    this.#element = element;
    this.#facts = FACTS.map((fact) => {
      const copy = template.content.cloneNode(true) as DocumentFragment;
      const row = inside(copy, ".fact");
      say(inside(row, "dt"), fact.label);
      const canvas = inside<HTMLCanvasElement>(row, "canvas");
      if (!fact.value) canvas.remove();
      list.append(row);
      return {
        fact,
        element: row,
        value: inside(row, "dd"),
        line: fact.value ? new Sparkline(canvas) : null,
      };
    });
  }

  get isOpen(): boolean {
    return !this.#element.hidden;
  }

  toggle(open = !this.isOpen): void {
    this.#element.hidden = !open;
    this.#draw();
  }

  /** Once a second, open or not: the lines show the past too. */
  update(
    sample: StatsSample | null,
    delayMs: number | null,
    report: ViewerReport | null,
    unknown: "untold" | "wrong" | null,
  ): void {
    this.#delayLine.push(delayMs);
    const [number = "–", unit = "ms"] = format.milliseconds(delayMs).split(" ");
    say(byId("delay"), number);
    say(byId("delay-unit"), delayMs === null ? "" : unit);
    say(byId("delay-note"), this.#delayNote(delayMs, sample, unknown));
    this.#element.dataset["delay"] =
      delayMs === null ? "unknown" : delayMs <= 250 ? "good" : delayMs <= 500 ? "fair" : "poor";

    for (const { fact, element, value, line } of this.#facts) {
      say(value, sample ? fact.text(sample) : "–");
      element.classList.toggle("bad", sample !== null && (fact.isBad?.(sample) ?? false));
      line?.push(sample ? (fact.value?.(sample) ?? null) : null);
    }
    const foot = [
      this.firstFrameMs === null
        ? ""
        : `first picture after ${format.milliseconds(this.firstFrameMs)}`,
      report?.video?.retransmitted ? `${report.video.retransmitted} packets repaired` : "",
    ];
    say(byId("quality-foot"), foot.filter(Boolean).join(" · "));
    this.#draw();
  }

  #delayNote(
    delayMs: number | null,
    sample: StatsSample | null,
    unknown: "untold" | "wrong" | null,
  ): string {
    if (delayMs === null && sample?.frameRate && unknown === "wrong")
      return "unknown: a clock of the publisher or of this device is wrong";
    if (delayMs === null && sample?.frameRate && unknown === "untold")
      return "unknown: the publisher has not told its clock";
    if (delayMs === null) return sample?.frameRate ? "measuring…" : "no picture to measure";
    if (delayMs <= 250) return "from the camera to this screen";
    return delayMs <= 500
      ? "from camera to screen: still under half a second"
      : "from camera to screen: the way is slow";
  }

  #draw(): void {
    if (!this.isOpen) return;
    this.#delayLine.draw();
    for (const { line } of this.#facts) line?.draw();
  }
}
