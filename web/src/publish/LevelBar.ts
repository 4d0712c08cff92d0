import { LevelMeter } from "../client/LevelMeter";
import { inside } from "../ui/dom";

/**
 * How much of the shown level is left one frame later: it falls slowly, as eyes expect of a meter.
 * A guess.
 */
const FALL = 0.93;

/** Shows how loud the source is. */
export class LevelBar {
  readonly #row: HTMLElement;
  readonly #bar: HTMLElement;
  #meter: LevelMeter | null = null;
  #shown = 0;

  constructor(row: HTMLElement, bar: HTMLElement) {
    this.#row = row;
    this.#bar = bar;
    requestAnimationFrame(this.#draw);
  }

  /** Measures this track from now on; `null`: there is no sound. */
  measure(track: MediaStreamTrack | null): void {
    this.#meter?.close();
    this.#meter = track ? new LevelMeter(track) : null;
    this.#row.hidden = track === null;
  }

  readonly #draw = (): void => {
    requestAnimationFrame(this.#draw);
    if (!this.#meter) return;
    this.#shown = Math.max(this.#meter.level, this.#shown * FALL);
    inside(this.#bar, "i").style.setProperty("--level", this.#shown.toFixed(3));
    this.#bar.setAttribute("aria-valuenow", String(Math.round(this.#shown * 100)));
  };
}
