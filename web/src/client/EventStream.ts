/** Server-sent events, read with `fetch`: `EventSource` cannot carry a token. */

import type { Browser } from "./Browser";

/** One event as the server wrote it. */
export interface ServerEvent {
  name: string;
  data: string;
}

/**
 * Reads events until the server ends the stream. Calls `onheard` for all bytes, also those of
 * comments.
 */
export async function readEvents(
  body: ReadableStream<Uint8Array>,
  onevent: (event: ServerEvent) => void,
  onheard: () => void,
): Promise<void> {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onheard();
    parser.push(decoder.decode(value, { stream: true })).forEach(onevent);
  }
}

/** Puts events together from pieces of text (WHATWG HTML §9.2.6, without `id` and `retry`). */
export class EventParser {
  #rest = "";

  push(text: string): ServerEvent[] {
    const events = (this.#rest + text).split(/\r?\n\r?\n/);
    this.#rest = events.pop() ?? "";
    return events.map(parse).filter((event) => event !== null);
  }
}

function parse(event: string): ServerEvent | null {
  const lines = event.split(/\r?\n/);
  const name =
    lines
      .find((line) => line.startsWith("event:"))
      ?.slice(6)
      .trim() ?? "message";
  const data = lines
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart());
  return data.length > 0 ? { name, data: data.join("\n") } : null;
}

/**
 * Runs `work` with one of `places` that all tabs of the browser share; without one if all are
 * taken, or if the browser has no locks to count them by.
 *
 * A browser opens six connections to an HTTP/1.1 server for all its tabs together, so only few tabs
 * may hold one open.
 */
export async function withPlace<T>(
  { locks }: Pick<Browser, "locks">,
  name: string,
  places: number,
  work: (hasPlace: boolean) => Promise<T>,
): Promise<T> {
  if (!locks) return await work(false);
  for (let place = 0; place < places; place++) {
    const outcome = await locks.request(`${name}-${place}`, { ifAvailable: true }, async (lock) =>
      lock ? { value: await work(true) } : null,
    );
    if (outcome) return outcome.value;
  }
  return await work(false);
}

/** Waits for `ms` milliseconds, or until `stopped` aborts. */
export function pause(
  browser: Pick<Browser, "setTimeout" | "clearTimeout">,
  ms: number,
  stopped: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    if (stopped.aborted) return resolve();
    const end = (): void => {
      browser.clearTimeout(timer);
      // A page that polls for hours would otherwise collect a listener for each pause.
      stopped.removeEventListener("abort", end);
      resolve();
    };
    const timer = browser.setTimeout(end, ms);
    stopped.addEventListener("abort", end);
  });
}
