/** Why something did not work, in words: `application/problem+json` (RFC 9457), or our own findings. */
export class Problem extends Error {
  /** HTTP status; 0 where there was no HTTP answer. */
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  /** What to do about it, where somebody knows. */
  readonly fix: string | null;
  /** 406: what is published. */
  readonly codec: string | null;
  /** 406: what the viewer has offered to decode. */
  readonly offered: string[];
  /** 404 of a session whose DTLS handshake failed: the class of the reason. */
  readonly handshake: string | null;
  /** When the server asks to come again. */
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

  /** What an answer that is not 2xx says. */
  static async fromResponse(response: Response): Promise<Problem> {
    let body: Record<string, unknown> = {};
    try {
      if (/json/.test(response.headers.get("content-type") ?? "")) body = (await response.json()) as typeof body;
    } catch {
      // An unreadable body says no more than the status.
    }
    const text = (key: string): string | null => (typeof body[key] === "string" ? (body[key] as string) : null);
    const retryAfter = Number.parseFloat(response.headers.get("retry-after") ?? "");
    return new Problem({
      status: response.status,
      title: text("title") ?? (response.statusText || `HTTP ${response.status}`),
      detail: text("detail") ?? "",
      fix: text("fix"),
      codec: text("codec"),
      handshake: text("handshake"),
      offered: Array.isArray(body["offered"]) ? body["offered"].filter((each): each is string => typeof each === "string") : [],
      retryAfterMs: Number.isFinite(retryAfter) ? retryAfter * 1000 : null,
    });
  }

  /** Wraps whatever was thrown. `fetch` throws a `TypeError` when nobody answers. */
  static from(thrown: unknown): Problem {
    if (thrown instanceof Problem) return thrown;
    if (thrown instanceof TypeError && /fetch|network|load failed/i.test(thrown.message)) return Problem.unreachable();
    return new Problem({ status: 0, title: "Something went wrong in this browser", detail: String(thrown) });
  }

  static unreachable(): Problem {
    return new Problem({
      status: 0,
      title: "The server does not answer",
      detail: "The page will go on trying by itself.",
    });
  }
}
