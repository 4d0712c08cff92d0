import { BackOff } from "./BackOff";
import { thisBrowser, type Browser } from "./Browser";
import { pause, readEvents, withPlace, type ServerEvent } from "./EventStream";
import type { ConnectionState } from "./LiveConnection";
import type { SessionResource } from "./SessionResource";
import { SilenceAlarm } from "./SilenceAlarm";

/**
 * The server writes at least every 5 s (`server/src/http/events/teller.rs`); after two of them the
 * connection is dead.
 */
const SILENCE_MS = 12_000;
/**
 * Time between tries for a place while other tabs hold all of them. A guess; the session's report
 * serves meanwhile.
 */
const TRY_AGAIN_MS = 15_000;

/**
 * Which events of a session to receive, and with how many other tabs to share the connections for
 * it.
 */
export interface Hearing {
  events: string[];
  /** Name under which tabs share `places`. */
  place: string;
  places: number;
}

/** The parts of a connection that its events depend on. */
export interface SessionOwner {
  readonly state: ConnectionState;
  readonly session: SessionResource | null;
}

/**
 * Receives the server-sent events of a connection's session: those of WHEP, and those that our
 * server has for WHIP.
 *
 * While none can be received, the session's report has to be polled: see `isListening`.
 */
export class SessionEvents {
  /** Called with each event. */
  onevent: (event: ServerEvent) => void = () => {};
  /** Called when the events have ended unexpectedly: the server may be gone. */
  onlost: () => void = () => {};

  readonly #client: SessionOwner;
  readonly #hearing: Hearing;
  readonly #browser: Browser;
  #session: SessionResource | null = null;
  #stopped = new AbortController();
  /** Time (`Browser.now`) of the last bytes; `null` while no events are received. */
  #heardAt: number | null = null;

  constructor(client: SessionOwner, hearing: Hearing, browser: Browser = thisBrowser) {
    this.#client = client;
    this.#hearing = hearing;
    this.#browser = browser;
    // An open request would keep the page out of the back/forward cache.
    browser.listen("pagehide", () => this.#turnTo(null));
  }

  /** Whether the server reports changes by itself. */
  get isListening(): boolean {
    return this.#heardAt !== null && this.#browser.now() - this.#heardAt < SILENCE_MS;
  }

  /**
   * Receives the events of the client's present session. Call when the session may have changed.
   */
  follow(): void {
    this.#turnTo(this.#client.state === "connected" ? this.#client.session : null);
  }

  #turnTo(session: SessionResource | null): void {
    if (session === this.#session) return;
    this.#session = session;
    this.#stopped.abort();
    this.#stopped = new AbortController();
    this.#heardAt = null;
    if (session?.hasEvents) void this.#listenTo(session, this.#stopped.signal);
  }

  async #listenTo(session: SessionResource, stopped: AbortSignal): Promise<void> {
    // The first wait is long: when a session ends, its connection reports that within 2 s.
    const backOff = new BackOff(2_000, TRY_AGAIN_MS, this.#browser);
    const { place, places } = this.#hearing;
    while (!stopped.aborted) {
      let wait = TRY_AGAIN_MS;
      await withPlace(this.#browser, place, places, async (hasPlace) => {
        if (!hasPlace || stopped.aborted) return;
        await this.#read(session, stopped, backOff);
        if (stopped.aborted) return;
        this.#heardAt = null;
        this.onlost();
        wait = backOff.next();
      });
      await pause(this.#browser, wait, stopped);
    }
  }

  /** Reads until the events end, for whatever reason. */
  async #read(session: SessionResource, stopped: AbortSignal, backOff: BackOff): Promise<void> {
    const alarm = new SilenceAlarm(this.#browser, SILENCE_MS, stopped);
    try {
      const events = await session.listen(this.#hearing.events, alarm.signal);
      const heard = (): void => {
        if (stopped.aborted) return;
        this.#heardAt = this.#browser.now();
        alarm.heard();
        backOff.reset();
      };
      await readEvents(events, (event) => !stopped.aborted && this.onevent(event), heard);
    } catch {
      // The server is full, is gone, or does not know the session any more; the session's report
      // tells which.
    } finally {
      alarm.end();
    }
  }
}
