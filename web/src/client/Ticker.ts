/** Name of the built worker, which lies beside the pages' scripts; set by build.mjs. */
declare const TICKER_WORKER: string;

/** Calls back a number of times a second, also while the page is hidden. */
export class Ticker {
  readonly #ontick: () => void;
  #worker: Worker | null = null;
  #fallback: ReturnType<typeof setInterval> | undefined;

  constructor(ontick: () => void) {
    this.#ontick = ontick;
  }

  start(perSecond: number): void {
    this.stop();
    try {
      this.#worker = new Worker(new URL(TICKER_WORKER, import.meta.url), { type: "module" });
      this.#worker.onmessage = this.#ontick;
      this.#worker.onerror = () => this.#fallBack(perSecond);
      this.#worker.postMessage(perSecond);
    } catch {
      this.#fallBack(perSecond);
    }
  }

  stop(): void {
    this.#worker?.terminate();
    this.#worker = null;
    clearInterval(this.#fallback);
  }

  #fallBack(perSecond: number): void {
    this.stop();
    this.#fallback = setInterval(this.#ontick, 1000 / perSecond);
  }
}
