import type { Access } from "./Access";
import { streamPath, waitingStream, type StreamStatus } from "./Api";
import { BackOff } from "./BackOff";
import { pause, readEvents, withPlace, type ServerEvent } from "./EventStream";
import { Problem } from "./Problem";

/** Of the six connections that all tabs of a browser share, this many may listen under this name. */
export const EVENTS_PLACE = "nowcast-events";
export const EVENTS_PLACES = 3;
const POLL_MS = 2_000;
/** The server speaks every 2 s; after this long the line is dead. */
const SILENCE_MS = 7_000;

/**
 * Follows the status of one stream by server-sent events.
 *
 * Where many tabs are open, or the browser lacks locks to count them by, asks every 2 s instead.
 */
export class StreamEvents {
  onstatus: (status: StreamStatus) => void = () => {};
  /** Something is in the way (`null`: no longer). It goes on by itself. */
  onproblem: (problem: Problem | null) => void = () => {};

  readonly #stream: string;
  readonly #access: Access;
  readonly #backOff = new BackOff();
  #stopped: AbortController | null = null;

  constructor(stream: string, access: Access) {
    this.#stream = stream;
    this.#access = access;
  }

  start(): void {
    this.stop();
    this.#stopped = new AbortController();
    void this.#follow(this.#stopped.signal);
    addEventListener("pagehide", this.#sleep);
    addEventListener("pageshow", this.#wake);
  }

  stop(): void {
    this.#stopped?.abort();
    removeEventListener("pagehide", this.#sleep);
    removeEventListener("pageshow", this.#wake);
  }

  async #follow(stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      try {
        const listened = await withPlace(EVENTS_PLACE, EVENTS_PLACES, (hasPlace) =>
          hasPlace ? this.#listen(stopped) : this.#poll(stopped),
        );
        if (listened === "polled") {
          await pause(POLL_MS, stopped);
          continue;
        }
      } catch (thrown) {
        if (stopped.aborted) return;
        this.onproblem(Problem.from(thrown));
      }
      await pause(this.#backOff.next(), stopped);
    }
  }

  async #listen(stopped: AbortSignal): Promise<"ended"> {
    const silent = new AbortController();
    const either = anySignal(stopped, silent.signal);
    let alarm: ReturnType<typeof setTimeout> | undefined;
    const heard = (): void => {
      clearTimeout(alarm);
      alarm = setTimeout(() => silent.abort(), SILENCE_MS);
    };
    try {
      heard();
      const response = await this.#request("/events", "text/event-stream", either);
      if (!response.ok || !response.body) throw await Problem.fromResponse(response);
      await readEvents(response.body, (event) => this.#handleEvent(event), heard);
      return "ended";
    } catch (thrown) {
      if (silent.signal.aborted) throw Problem.unreachable();
      throw thrown;
    } finally {
      clearTimeout(alarm);
    }
  }

  #handleEvent({ name, data }: ServerEvent): void {
    if (name === "status") this.#handleStatus(JSON.parse(data) as StreamStatus);
  }

  async #poll(stopped: AbortSignal): Promise<"polled"> {
    const response = await this.#request("", "application/json", stopped);
    if (response.status === 404) this.#handleStatus(waitingStream(this.#stream));
    else if (!response.ok) throw await Problem.fromResponse(response);
    else this.#handleStatus((await response.json()) as StreamStatus);
    return "polled";
  }

  #handleStatus(status: StreamStatus): void {
    this.#backOff.reset();
    this.onproblem(null);
    this.onstatus(status);
  }

  async #request(suffix: string, accept: string, signal: AbortSignal): Promise<Response> {
    return await fetch(streamPath("/api/v1/streams", this.#stream, suffix), {
      headers: this.#access.headers({ Accept: accept }),
      cache: "no-store",
      signal,
    });
  }

  readonly #sleep = (): void => this.#stopped?.abort();

  readonly #wake = (event: PageTransitionEvent): void => {
    if (event.persisted) this.start();
  };
}

/** Aborts when one of two does. (`AbortSignal.any` is younger than some browsers that we serve.) */
function anySignal(a: AbortSignal, b: AbortSignal): AbortSignal {
  const either = new AbortController();
  const abort = (): void => either.abort();
  if (a.aborted || b.aborted) abort();
  a.addEventListener("abort", abort, { once: true });
  b.addEventListener("abort", abort, { once: true });
  return either.signal;
}
