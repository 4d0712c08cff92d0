import type { Access } from "./Access";
import type { Time } from "./Api";
import { thisBrowser, type Browser } from "./Browser";
import { at } from "./root";

/**
 * Returns this computer's time in milliseconds since the Unix epoch: fine-grained, and never
 * stepping back.
 */
export function localNow(browser: Pick<Browser, "timeOrigin" | "now"> = thisBrowser): number {
  return browser.timeOrigin + browser.now();
}

/** One request for the server's time. */
export interface ClockProbe {
  sentAt: number;
  receivedAt: number;
  serverMs: number;
}

/** Returns how far the server's clock is ahead of this computer's, by the quickest answer. */
export function clockOffset(probes: ClockProbe[]): number {
  const quickest = probes.reduce((a, b) =>
    b.receivedAt - b.sentAt < a.receivedAt - a.sentAt ? b : a,
  );
  return quickest.serverMs - (quickest.sentAt + quickest.receivedAt) / 2;
}

const PROBES = 5;

/**
 * The server's wall clock, estimated from here: right to half of the difference between both ways
 * of a round trip.
 */
export class ServerClock {
  readonly #access: Access;
  readonly #browser: Browser;
  #offsetMs: number | null = null;

  constructor(access: Access, browser: Browser = thisBrowser) {
    this.#access = access;
    this.#browser = browser;
  }

  /** Whether `now` is the server's time. */
  get isSet(): boolean {
    return this.#offsetMs !== null;
  }

  /**
   * Returns the server's time at a local moment; the local time itself until the server has
   * answered.
   */
  now(localMs = localNow(this.#browser)): number {
    return localMs + (this.#offsetMs ?? 0);
  }

  /** Asks the server's time a few times. Keeps the old estimate if the server does not answer. */
  async set(): Promise<void> {
    const probes: ClockProbe[] = [];
    const init: RequestInit = { headers: this.#access.headers(), cache: "no-store" };
    for (let i = 0; i < PROBES; i++) {
      try {
        const sentAt = localNow(this.#browser);
        const response = await this.#browser.fetch(at("/api/v1/time"), init);
        const receivedAt = localNow(this.#browser);
        if (!response.ok) break;
        const { now_ms } = (await response.json()) as Time;
        if (typeof now_ms === "number") probes.push({ sentAt, receivedAt, serverMs: now_ms });
      } catch {
        break;
      }
    }
    if (probes.length > 0) this.#offsetMs = clockOffset(probes);
  }
}
