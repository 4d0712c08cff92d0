import type { Browser } from "./Browser";

/**
 * Aborts a request whose answer has sent nothing for too long.
 *
 * A connection that died without a word would otherwise be waited for until the browser gives it
 * up, which takes minutes.
 */
export class SilenceAlarm {
  readonly #browser: Browser;
  readonly #ms: number;
  readonly #controller = new AbortController();
  readonly #stopped: AbortSignal;
  #timer: number | undefined;
  #hasRung = false;

  /** `ms`: the longest silence. `stopped`: aborts the request for another reason. */
  constructor(browser: Browser, ms: number, stopped: AbortSignal) {
    this.#browser = browser;
    this.#ms = ms;
    this.#stopped = stopped;
    if (stopped.aborted) this.#abort();
    stopped.addEventListener("abort", this.#abort);
    this.heard();
  }

  /** The signal for the request. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether silence has aborted the request. */
  get hasRung(): boolean {
    return this.#hasRung;
  }

  /** Bytes arrived: the silence begins anew. */
  heard(): void {
    this.#browser.clearTimeout(this.#timer);
    this.#timer = this.#browser.setTimeout(() => {
      this.#hasRung = true;
      this.#abort();
    }, this.#ms);
  }

  /** The request is over. */
  end(): void {
    this.#browser.clearTimeout(this.#timer);
    this.#stopped.removeEventListener("abort", this.#abort);
  }

  readonly #abort = (): void => this.#controller.abort();
}
