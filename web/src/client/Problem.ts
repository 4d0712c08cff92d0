/**
 * The longest wait that a server's `Retry-After` is obeyed for. A guess. There must be a bound: a
 * timer of more than 24.8 days (2³¹ ms) is over at once.
 */
const LONGEST_WAIT_MS = 300_000;

/**
 * The reason of a failure in words: `application/problem+json` (RFC 9457), or a finding of the page
 * itself.
 */
export class Problem extends Error {
  /** HTTP status; 0 where there was no HTTP answer. */
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  /** Advice, where there is some. */
  readonly fix: string | null;
  /** 406: the codec that is published. */
  readonly codec: string | null;
  /** 406: the codecs that the viewer has offered to decode. */
  readonly offered: string[];
  /**
   * 404 of a session whose DTLS handshake failed: the class of the reason, as in the server's
   * `nowcast_dtls_failures_total`.
   */
  readonly handshake: string | null;
  /**
   * Time after which the server asks for the next try, in ms; `null` where it names none in
   * seconds.
   */
  readonly retryAfterMs: number | null;

  constructor(what: {
    status: number;
    title: string;
    detail?: string;
    fix?: string | null;
    codec?: string | null;
    offered?: string[];
    handshake?: string | null;
    retryAfterMs?: number | null;
  }) {
    super(what.detail || what.title);
    this.name = "Problem";
    this.status = what.status;
    this.title = what.title;
    this.detail = what.detail ?? "";
    this.fix = what.fix ?? null;
    this.codec = what.codec ?? null;
    this.offered = what.offered ?? [];
    this.handshake = what.handshake ?? null;
    this.retryAfterMs = what.retryAfterMs ?? null;
  }

  /** Whether the resource does not exist, or not any more. */
  get isGone(): boolean {
    return this.status === 404 || this.status === 410;
  }

  /** Reads an answer that is not 2xx. */
  static async fromResponse(response: Response): Promise<Problem> {
    let body: Record<string, unknown> = {};
    try {
      if (/json/.test(response.headers.get("content-type") ?? ""))
        body = (await response.json()) as typeof body;
    } catch {
      // An unreadable body says no more than the status.
    }
    const text = (key: string): string | null => {
      const value = body[key];
      return isString(value) ? value : null;
    };
    const retryAfterMs = Number.parseFloat(response.headers.get("retry-after") ?? "") * 1_000;
    return new Problem({
      status: response.status,
      title: text("title") ?? (response.statusText || `HTTP ${response.status}`),
      detail: text("detail") ?? "",
      fix: text("fix"),
      codec: text("codec"),
      offered: Array.isArray(body["offered"]) ? body["offered"].filter(isString) : [],
      handshake: text("handshake"),
      retryAfterMs: retryAfterMs >= 0 ? Math.min(retryAfterMs, LONGEST_WAIT_MS) : null,
    });
  }

  /**
   * Reads the data of the event `failed`, the last one of a session whose DTLS handshake failed.
   */
  static fromFailedEvent(data: string): Problem {
    const { reason, detail } = JSON.parse(data) as { reason: string; detail: string };
    return new Problem({ status: 404, title: "Not Found", detail, handshake: reason });
  }

  /** Wraps a thrown value. `fetch` throws a `TypeError` when the server is out of reach. */
  static from(thrown: unknown): Problem {
    if (thrown instanceof Problem) return thrown;
    if (thrown instanceof TypeError && /fetch|network|load failed/i.test(thrown.message)) {
      return Problem.unreachable();
    }
    return new Problem({
      status: 0,
      title: "Something went wrong in this browser",
      detail: String(thrown),
    });
  }

  static unreachable(): Problem {
    return new Problem({
      status: 0,
      title: "The server does not answer",
      detail: "This page keeps trying by itself.",
    });
  }
}

function isString(value: unknown): value is string {
  return typeof value === "string";
}
