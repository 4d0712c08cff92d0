import type { Browser, PageEventName } from "../../src/client/Browser";
import { root } from "../../src/client/root";
import { FakePeer } from "./FakePeer";

/** One request that a class under test has made. */
export interface Request {
  method: string;
  /** Path and query. */
  path: string;
  headers: Record<string, string>;
  body: string;
  signal: AbortSignal | null;
  /** Virtual time of the request. */
  at: number;
}

/** Answers a request; throws as `fetch` does when the server is out of reach. */
export type Server = (request: Request) => Response | Promise<Response>;

interface Timer {
  id: number;
  at: number;
  action: () => void;
}

/** Timers that may come due in one step. More is a loop without a pause. */
const MOST_TIMERS = 5_000;

/**
 * A browser with a virtual clock and a scripted server. Its random numbers are all 0, so each
 * back-off is half its bound.
 */
export class FakeBrowser implements Browser {
  readonly timeOrigin = 1_700_000_000_000;
  readonly hostname = "live.example";
  locks: Browser["locks"] = null;
  isHidden = false;
  /** All requests so far. */
  readonly requests: Request[] = [];
  /** All peer connections so far, oldest first. */
  readonly peers: FakePeer[] = [];
  server: Server = () => new Response(null, { status: 500 });
  #now = 0;
  #lastTimer = 0;
  #timers: Timer[] = [];
  readonly #listeners = new Map<PageEventName, Set<(event: Event) => void>>();

  now(): number {
    return this.#now;
  }

  random(): number {
    return 0;
  }

  setTimeout(action: () => void, ms: number): number {
    // A browser keeps the delay in a signed 32-bit number: a longer one is over at once (HTML,
    // "timers").
    const delay = ms > 2 ** 31 - 1 ? 0 : ms;
    this.#timers.push({ id: ++this.#lastTimer, at: this.#now + delay, action });
    return this.#lastTimer;
  }

  clearTimeout(id: number | undefined): void {
    this.#timers = this.#timers.filter((timer) => timer.id !== id);
  }

  async fetch(url: string, init: RequestInit): Promise<Response> {
    // In a test the root of the server is the folder of the bundled script.
    const { pathname, search } = new URL(
      url.startsWith(root) ? url.slice(root.length) : url,
      "http://live.example",
    );
    const request = {
      method: init.method ?? "GET",
      path: pathname + search,
      headers: (init.headers ?? {}) as Record<string, string>,
      body: String(init.body ?? ""),
      signal: init.signal ?? null,
      at: this.#now,
    };
    this.requests.push(request);
    const response = await this.server(request);
    Object.defineProperty(response, "url", { value: new URL(url, "http://live.example").href });
    return response;
  }

  createPeer(): RTCPeerConnection {
    const peer = new FakePeer();
    this.peers.push(peer);
    return peer as unknown as RTCPeerConnection;
  }

  createStream(): MediaStream {
    return { getTracks: () => [] } as unknown as MediaStream;
  }

  listen(name: PageEventName, listener: (event: Event) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** How many listeners there are for all events together. */
  get listeners(): number {
    return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** The newest peer connection. */
  get peer(): FakePeer {
    const peer = this.peers.at(-1);
    if (!peer) throw new Error("no peer connection has been created");
    return peer;
  }

  /** Requests of one method, such as `POST`, in short: `POST /whep/demo`. */
  sent(method?: string): string[] {
    return this.requests
      .filter((each) => !method || each.method === method)
      .map(({ method, path }) => `${method} ${path}`);
  }

  /** Lets an event of the window or the document happen. */
  async fire(name: PageEventName, details: object = {}): Promise<void> {
    for (const listener of [...(this.#listeners.get(name) ?? [])])
      listener(Object.assign(new Event(name), details));
    await settled();
  }

  /** Lets virtual time pass, with all that comes due in it. */
  async passes(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (let run = 0; ; run++) {
      if (run > MOST_TIMERS) throw new Error(`more than ${MOST_TIMERS} timers within ${ms} ms`);
      const [next] = this.#timers
        .filter(({ at }) => at <= end)
        .sort((a, b) => a.at - b.at || a.id - b.id);
      if (!next) break;
      this.clearTimeout(next.id);
      this.#now = next.at;
      next.action();
      await settled();
    }
    this.#now = end;
  }
}

/** Lets all promises go on that can: a macrotask runs after every microtask. */
export async function settled(): Promise<void> {
  for (let turns = 0; turns < 3; turns++) await new Promise((resolve) => setImmediate(resolve));
}
