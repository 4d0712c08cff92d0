/** Server-sent events, read with `fetch`: `EventSource` cannot carry a token. */

/** One event, as it came. */
export interface ServerEvent {
  name: string;
  data: string;
}

/** Reads events until the server ends the stream. `onheard` is called for every sign of life, also for comments. */
export async function readEvents(body: ReadableStream<Uint8Array>, onevent: (event: ServerEvent) => void, onheard: () => void): Promise<void> {
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
  const name = lines.find((line) => line.startsWith("event:"))?.slice(6).trim() ?? "message";
  const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
  return data.length > 0 ? { name, data: data.join("\n") } : null;
}

/**
 * Runs `work` with one of `places` that all tabs of the browser share, or without if all are taken or cannot be counted.
 *
 * A browser opens six connections to an HTTP/1.1 server, for all its tabs together: few of them may listen.
 */
export async function withPlace<T>(name: string, places: number, work: (hasPlace: boolean) => Promise<T>): Promise<T> {
  if (!navigator.locks) return await work(false);
  for (let place = 0; place < places; place++) {
    const outcome = await navigator.locks.request(`${name}-${place}`, { ifAvailable: true }, async (lock) =>
      lock ? { value: await work(true) } : null,
    );
    if (outcome) return outcome.value;
  }
  return await work(false);
}

/** Waits, or less long if `stopped` aborts. */
export function pause(ms: number, stopped: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    stopped.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
