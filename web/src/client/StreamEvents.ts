import type { Access } from "./Access";
import { streamPath, waitingStream, type StreamStatus } from "./Api";
import { BackOff } from "./BackOff";
import { thisBrowser, type Browser } from "./Browser";
import { pause, readEvents, withPlace, type ServerEvent } from "./EventStream";
import { Problem } from "./Problem";
import { SilenceAlarm } from "./SilenceAlarm";

/**
 * Name and number of the places for tabs that hold an event stream open: three of a browser's six
 * connections.
 */
export const EVENTS_PLACE = "nowcast-events";
export const EVENTS_PLACES = 3;
const POLL_MS = 2_000;
/**
 * The server writes at least every 2 s (`server/src/http/events/`); after three of them the
 * connection is dead.
 */
const SILENCE_MS = 7_000;
/** Time until the next attempt to listen where a 503 names none. A guess. */
const FULL_MS = 10_000;

/**
 * Follows the status of one stream by server-sent events.
 *
 * Polls every 2 s instead where no place is free, where the browser has no locks to count places
 * by, and while the server has too many event streams open.
 */
export class StreamEvents {
  /** Called with each status that arrives. */
  onstatus: (status: StreamStatus) => void = () => {};
  /**
   * Called with the reason why no status arrives (`null`: it arrives again). Retries go on by
   * themselves.
   */
  onproblem: (problem: Problem | null) => void = () => {};

  readonly #stream: string;
  readonly #access: Access;
  readonly #browser: Browser;
  readonly #backOff: BackOff;
  #stopped: AbortController | null = null;
  #unlisten: (() => void)[] = [];
  /** Time (`Browser.now`) before which the server need not be asked for an event stream. */
  #fullUntil = 0;

  constructor(stream: string, access: Access, browser: Browser = thisBrowser) {
    this.#stream = stream;
    this.#access = access;
    this.#browser = browser;
    this.#backOff = new BackOff(undefined, undefined, browser);
  }

  start(): void {
    this.stop();
    this.#stopped = new AbortController();
    void this.#follow(this.#stopped.signal);
    this.#unlisten = [
      // An open request would keep the page out of the back/forward cache.
      this.#browser.listen("pagehide", () => this.#stopped?.abort()),
      this.#browser.listen("pageshow", (event) => {
        if ((event as PageTransitionEvent).persisted) this.start();
      }),
    ];
  }

  stop(): void {
    this.#stopped?.abort();
    this.#unlisten.splice(0).forEach((unlisten) => unlisten());
  }

  async #follow(stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      let retryAfterMs = 0;
      try {
        const outcome = await withPlace(this.#browser, EVENTS_PLACE, EVENTS_PLACES, (hasPlace) =>
          hasPlace && this.#browser.now() >= this.#fullUntil
            ? this.#listen(stopped)
            : this.#poll(stopped),
        );
        if (outcome === "polled") {
          await pause(this.#browser, POLL_MS, stopped);
          continue;
        }
      } catch (thrown) {
        if (stopped.aborted) return;
        const problem = Problem.from(thrown);
        retryAfterMs = problem.retryAfterMs ?? 0;
        this.onproblem(problem);
      }
      await pause(this.#browser, retryAfterMs + this.#backOff.next(), stopped);
    }
  }

  async #listen(stopped: AbortSignal): Promise<"ended" | "polled"> {
    const alarm = new SilenceAlarm(this.#browser, SILENCE_MS, stopped);
    try {
      const response = await this.#request("/events", "text/event-stream", alarm.signal);
      if (response.status === 503) {
        const { retryAfterMs } = await Problem.fromResponse(response);
        this.#fullUntil = this.#browser.now() + (retryAfterMs ?? FULL_MS);
        return await this.#poll(stopped);
      }
      if (!response.ok || !response.body) throw await Problem.fromResponse(response);
      await readEvents(
        response.body,
        (event) => this.#handleEvent(event, stopped),
        () => alarm.heard(),
      );
      return "ended";
    } catch (thrown) {
      if (alarm.hasRung) throw Problem.unreachable();
      throw thrown;
    } finally {
      alarm.end();
    }
  }

  #handleEvent({ name, data }: ServerEvent, stopped: AbortSignal): void {
    if (name === "status") this.#handleStatus(JSON.parse(data) as StreamStatus, stopped);
  }

  async #poll(stopped: AbortSignal): Promise<"polled"> {
    const response = await this.#request("", "application/json", stopped);
    if (response.status === 404) this.#handleStatus(waitingStream(this.#stream), stopped);
    else if (!response.ok) throw await Problem.fromResponse(response);
    else this.#handleStatus((await response.json()) as StreamStatus, stopped);
    return "polled";
  }

  #handleStatus(status: StreamStatus, stopped: AbortSignal): void {
    if (stopped.aborted) return;
    this.#backOff.reset();
    this.onproblem(null);
    this.onstatus(status);
  }

  async #request(suffix: string, accept: string, signal: AbortSignal): Promise<Response> {
    return await this.#browser.fetch(streamPath("/api/v1/streams", this.#stream, suffix), {
      headers: this.#access.headers({ Accept: accept }),
      cache: "no-store",
      signal,
    });
  }
}
