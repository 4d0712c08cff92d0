import type { Access } from "./Access";
import { at } from "./root";

/** This computer's clock, in milliseconds since the Unix epoch: fine-grained, and never stepping back. */
export function localNow(): number {
  return performance.timeOrigin + performance.now();
}

/** One question to the server's clock. */
export interface ClockProbe {
  sentAt: number;
  receivedAt: number;
  serverMs: number;
}

/** How far the server's clock is ahead of ours: the quickest answer knows best. */
export function clockOffset(probes: ClockProbe[]): number {
  const quickest = probes.reduce((a, b) => (b.receivedAt - b.sentAt < a.receivedAt - a.sentAt ? b : a));
  return quickest.serverMs - (quickest.sentAt + quickest.receivedAt) / 2;
}

const PROBES = 5;

/** The server's wall clock, seen from here. Good to half a round trip's asymmetry. */
export class ServerClock {
  readonly #access: Access;
  #offsetMs: number | null = null;

  constructor(access: Access) {
    this.#access = access;
  }

  /** Whether `now` can be asked. */
  get isSet(): boolean {
    return this.#offsetMs !== null;
  }

  /** What the server's clock says, or said at a local moment; ours until it has been asked. */
  now(localMs = localNow()): number {
    return localMs + (this.#offsetMs ?? 0);
  }

  /** Asks a few times. Keeps what it knows if the server does not answer. */
  async set(): Promise<void> {
    const probes: ClockProbe[] = [];
    for (let i = 0; i < PROBES; i++) {
      try {
        const sentAt = localNow();
        const response = await fetch(at("/api/v1/time"), { headers: this.#access.headers(), cache: "no-store" });
        const receivedAt = localNow();
        if (!response.ok) break;
        const { now_ms } = (await response.json()) as { now_ms: number };
        if (typeof now_ms === "number") probes.push({ sentAt, receivedAt, serverMs: now_ms });
      } catch {
        break;
      }
    }
    if (probes.length > 0) this.#offsetMs = clockOffset(probes);
  }
}
