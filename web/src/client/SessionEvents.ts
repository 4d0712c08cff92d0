import type { MediumLayers } from "./Api";
import { BackOff } from "./BackOff";
import { pause, readEvents, withPlace, type ServerEvent } from "./EventStream";
import type { SessionResource } from "./SessionResource";
import type { WhepClient } from "./WhepClient";

/** One tab listens to its session, beside the three that listen to their streams: two connections are left for requests. */
const LISTENERS = 1;
/** The server speaks every 5 s; after this long the line is dead. */
const SILENCE_MS = 12_000;
/** Where another tab listens: it may be closed. Until then there is the report. */
const TRY_AGAIN_MS = 15_000;

/**
 * Hears what changes for our session: the server-sent events of WHEP.
 *
 * Where that cannot be, the session's report has to be asked for: see `isListening`.
 */
export class SessionEvents {
  /** What is sent to us, or what there is, has changed. */
  onlayers: (layers: MediumLayers) => void = () => {};
  /** Somebody publishes: as before, or anew. */
  onactive: () => void = () => {};

  readonly #client: WhepClient;
  #session: SessionResource | null = null;
  #stopped = new AbortController();
  /** The last sign of life; 0 while nobody is listened to. */
  #heardAt = 0;

  constructor(client: WhepClient) {
    this.#client = client;
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
      await withPlace("nowcast-session", LISTENERS, async (hasPlace) => {
        if (!hasPlace || stopped.aborted) return;
        try {
          const events = await session.listen(["active", "layers"], stopped);
          await readEvents(events, (event) => this.#handle(event), () => {
            if (!stopped.aborted) this.#heardAt = performance.now();
            backOff.reset();
          });
        } catch {
          // The server is full, or gone, or knows us no longer; the report will say.
        }
        if (!stopped.aborted) this.#heardAt = 0;
        wait = backOff.next();
      });
      await pause(wait, stopped);
    }
  }

  #handle({ name, data }: ServerEvent): void {
    if (name === "active") this.onactive();
    if (name !== "layers") return;
    const [layers] = Object.values(JSON.parse(data) as Record<string, MediumLayers>);
    if (layers) this.onlayers(layers);
  }
}
