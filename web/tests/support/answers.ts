import type { Request } from "./FakeBrowser";

/** The server's description, with an address that is not on its loopback interface. */
export const ANSWER = [
  "v=0",
  "a=ice-lite",
  "m=video 9 UDP/TLS/RTP/SAVPF 96",
  "a=ice-ufrag:server",
  "a=ice-pwd:secret",
  "a=candidate:1 1 udp 1 192.0.2.7 7882 typ host",
  "",
].join("\r\n");

/** 201 for an offer: the session with this number. */
export function created(session: number, { answer = ANSWER, link = "" } = {}): Response {
  const headers = {
    Location: `/whep/demo/${session}`,
    ETag: '"1"',
    ...(link ? { Link: link } : {}),
  };
  return new Response(answer, { status: 201, headers });
}

/** A problem as the server writes it, with more members of its body where a test needs them. */
export function refused(
  status: number,
  { retryAfter = "", title = "no", ...more }: Record<string, string> = {},
): Response {
  const headers = {
    "Content-Type": "application/problem+json",
    ...(retryAfter ? { "Retry-After": retryAfter } : {}),
  };
  return new Response(JSON.stringify({ status, title, ...more }), { status, headers });
}

/** An object as JSON. */
export function json(body: unknown): Response {
  return new Response(JSON.stringify(body), {
    status: 200,
    headers: { "Content-Type": "application/json" },
  });
}

/** What `fetch` throws when the server is out of reach. */
export function unreachable(): never {
  throw new TypeError("Failed to fetch");
}

/** An answer that never comes. */
export function never(): Promise<Response> {
  return new Promise(() => {});
}

/** An answer that never comes; `fetch` throws when its request is aborted. */
export function neverUnlessAborted({ signal }: Request): Promise<Response> {
  return new Promise((_, reject) =>
    signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError"))),
  );
}

/** An event stream that stays open until its request is aborted, and what writes to it. */
export function eventStream({ signal }: Request): {
  response: Response;
  write: (text: string) => void;
  end: () => void;
} {
  const encoder = new TextEncoder();
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const body = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) });
  signal?.addEventListener("abort", () =>
    controller?.error(new DOMException("aborted", "AbortError")),
  );
  return {
    response: new Response(body, { status: 200, headers: { "Content-Type": "text/event-stream" } }),
    write: (text) => controller?.enqueue(encoder.encode(text)),
    end: () => controller?.close(),
  };
}

/** Locks of a browser with one tab: all are free. */
export const freeLocks = {
  request: async (_name: string, _options: LockOptions, work: (lock: Lock | null) => unknown) =>
    await work({ name: "", mode: "exclusive" }),
} as unknown as Pick<LockManager, "request">;
