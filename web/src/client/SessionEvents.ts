import { BackOff } from "./BackOff";
import { pause, readEvents, withPlace, type ServerEvent } from "./EventStream";
import type { SessionResource } from "./SessionResource";
import type { LiveConnection } from "./LiveConnection";

/** The server speaks every 5 s; after this long the line is dead. */
const SILENCE_MS = 12_000;
/** Where another tab listens: it may be closed. Until then there is the report. */
const TRY_AGAIN_MS = 15_000;

/** Which events of a session to hear, and among how many tabs. */
export interface Hearing {
  events: string[];
  /** Tabs that listen under this name share so many places. */
  place: string;
  places: number;
}

/**
 * Hears what changes for our session: the server-sent events of WHEP, and what our server has of the kind for WHIP.
 *
 * Where that cannot be, the server has to be asked: see `isListening`.
 */
export class SessionEvents {
  onevent: (event: ServerEvent) => void = () => {};
  /** The events have ended, and not because of us: the server may be gone. */
  onlost: () => void = () => {};

  readonly #client: LiveConnection;
  readonly #hearing: Hearing;
  #session: SessionResource | null = null;
  #stopped = new AbortController();
  /** The last sign of life; 0 while nobody is listened to. */
  #heardAt = 0;

  constructor(client: LiveConnection, hearing: Hearing) {
    this.#client = client;
    this.#hearing = hearing;
    // What listens while a page goes away would keep it from being kept.
    addEventListener("pagehide", () => this.#turnTo(null));
  }

  /** Whether changes are told. */
  get isListening(): boolean {
    return this.#heardAt > 0 && performance.now() - this.#heardAt < SILENCE_MS;
  }

  /** Listens to the client's session. Call when it may be another one. */
  follow(): void {
    this.#turnTo(this.#client.state === "connected" ? this.#client.session : null);
  }

  #turnTo(session: SessionResource | null): void {
    if (session === this.#session) return;
    this.#session = session;
    this.#stopped.abort();
    this.#stopped = new AbortController();
    this.#heardAt = 0;
    if (session?.hasEvents) void this.#listenTo(session, this.#stopped.signal);
  }

  async #listenTo(session: SessionResource, stopped: AbortSignal): Promise<void> {
    // If the session has ended, its connection says so within the first wait.
    const backOff = new BackOff(2_000, TRY_AGAIN_MS);
    while (!stopped.aborted) {
      let wait = TRY_AGAIN_MS;
      await withPlace(this.#hearing.place, this.#hearing.places, async (hasPlace) => {
        if (!hasPlace || stopped.aborted) return;
        try {
          const events = await session.listen(this.#hearing.events, stopped);
          await readEvents(events, (event) => this.onevent(event), () => {
            if (!stopped.aborted) this.#heardAt = performance.now();
            backOff.reset();
          });
        } catch {
          // The server is full, or gone, or knows us no longer; the report will say.
        }
        if (!stopped.aborted) {
          this.#heardAt = 0;
          this.onlost();
        }
        wait = backOff.next();
      });
      await pause(wait, stopped);
    }
  }
}
