import { thisBrowser, type Browser } from "./Browser";

/**
 * Chooses waits between tries: doubling, bounded, and random within a factor of two so that many
 * clients spread out.
 */
export class BackOff {
  readonly #firstMs: number;
  readonly #mostMs: number;
  readonly #browser: Pick<Browser, "random">;
  #tries = 0;

  constructor(firstMs = 300, mostMs = 8_000, browser: Pick<Browser, "random"> = thisBrowser) {
    this.#firstMs = firstMs;
    this.#mostMs = mostMs;
    this.#browser = browser;
  }

  /** Returns the next wait in ms: between half and all of 0.3 s, 0.6 s, 1.2 s, … 8 s. */
  next(): number {
    const wait = Math.min(this.#mostMs, this.#firstMs * 2 ** this.#tries);
    this.#tries += 1;
    return wait * (0.5 + this.#browser.random() / 2);
  }

  /** Begins with the shortest wait again. Call after a success. */
  reset(): void {
    this.#tries = 0;
  }
}
