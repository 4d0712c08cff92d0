/** How long to wait before the next try: doubling, bounded, and with jitter so that many clients spread out. */
export class BackOff {
  #tries = 0;
  readonly #firstMs: number;
  readonly #mostMs: number;

  constructor(firstMs = 300, mostMs = 8_000) {
    this.#firstMs = firstMs;
    this.#mostMs = mostMs;
  }

  /** The next wait in milliseconds: between half and all of 0.3 s, 0.6 s, 1.2 s, … 8 s. */
  next(): number {
    const wait = Math.min(this.#mostMs, this.#firstMs * 2 ** this.#tries);
    this.#tries += 1;
    return wait * (0.5 + Math.random() / 2);
  }

  /** It worked: start small again. */
  reset(): void {
    this.#tries = 0;
  }
}
