import type { Access } from "./Access";
import { iceServersFromLink, linkTo } from "./LinkHeader";
import { Problem } from "./Problem";

/** What a viewer wishes of the video: one layer by its `rid`, or none while nobody looks. */
export interface LayerWish {
  encodingId: string | null;
  paused: boolean;
}

/** The relation of a session's server-sent events (draft-murillo-whep-02 §4.6.1). */
const EVENTS = "urn:ietf:params:whep:ext:core:server-sent-events";
/** The same of a publisher's session: our server's own. */
const PUBLISHER_EVENTS = "urn:nowcast:whip:ext:server-sent-events";

/** A server that takes longer to say why a session failed is not waited for. A guess. */
const WHY_FAILED_MS = 2_000;

/** The HTTP side of one WHIP or WHEP session: what `Location` names (RFC 9725 §4.2 and §4.3). */
export class SessionResource {
  /** Address of the session. It is a secret: whoever knows it can end the session. */
  readonly url: string;
  /** The server's SDP answer. */
  readonly answer: string;
  /** ICE servers that the server recommends. */
  readonly iceServers: RTCIceServer[];
  readonly #access: Access;
  /** Where events of the session can be subscribed to. */
  readonly #events: string | null;
  #etag: string | null;

  private constructor(url: string, answer: string, links: string | null, etag: string | null, access: Access) {
    this.url = url;
    this.answer = answer;
    this.iceServers = iceServersFromLink(links);
    this.#events = linkTo(EVENTS, links) ?? linkTo(PUBLISHER_EVENTS, links);
    this.#etag = etag;
    this.#access = access;
  }

  /** Posts an offer. Throws a {@link Problem}. */
  static async open(endpoint: string, offer: string, access: Access): Promise<SessionResource> {
    const response = await request(endpoint, {
      method: "POST",
      headers: access.headers({ "Content-Type": "application/sdp", Accept: "application/sdp" }),
      body: offer,
    });
    const location = response.headers.get("location");
    if (response.status !== 201 || !location) {
      throw new Problem({
        status: response.status,
        title: "The server's answer is not that of a WHIP or WHEP endpoint",
        detail: `Expected 201 and a Location, got ${response.status}.`,
      });
    }
    return new SessionResource(
      new URL(location, response.url).href,
      await response.text(),
      response.headers.get("link"),
      response.headers.get("etag"),
      access,
    );
  }

  /** Whether the server can be told candidates at all that it could use: an ICE-lite server learns ours by itself. */
  get wantsCandidates(): boolean {
    return !/^a=ice-lite/m.test(this.answer);
  }

  /** Sends candidates. A server that does not take them (405, 501) loses nothing but the candidates. */
  async trickle(fragment: string): Promise<void> {
    await request(this.url, {
      method: "PATCH",
      headers: this.#access.headers({
        "Content-Type": "application/trickle-ice-sdpfrag",
        ...(this.#etag === null ? {} : { "If-Match": this.#etag }),
      }),
      body: fragment,
    });
  }

  /** Restarts ICE. Returns the server's new credentials and candidates. */
  async restart(fragment: string): Promise<string> {
    // RFC 9725 §4.3.3: an ICE restart goes with `If-Match: "*"`, and its answer brings the next tag.
    const response = await request(this.url, {
      method: "PATCH",
      headers: this.#access.headers({ "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" }),
      body: fragment,
    });
    this.#etag = response.headers.get("etag") ?? this.#etag;
    if (response.status !== 200) {
      throw new Problem({ status: response.status, title: "The server did not restart ICE" });
    }
    return await response.text();
  }

  /** What the server says about the session, as JSON; `null` if it is gone. Throws if there is no telling. */
  async report(): Promise<unknown> {
    try {
      const response = await request(this.url, { headers: this.#access.headers({ Accept: "application/json" }) });
      return response.status === 204 ? {} : await response.json();
    } catch (thrown) {
      if (thrown instanceof Problem && (thrown.status === 404 || thrown.status === 410)) return null;
      throw thrown;
    }
  }

  /** Why the session is gone, if the server says that its DTLS handshake failed. */
  async whyFailed(): Promise<Problem | null> {
    try {
      const headers = this.#access.headers({ Accept: "application/json" });
      await request(this.url, { headers, signal: AbortSignal.timeout(WHY_FAILED_MS) });
      return null;
    } catch (thrown) {
      return thrown instanceof Problem && thrown.handshake !== null ? thrown : null;
    }
  }

  /** Wishes something of the video. Throws a {@link Problem}. */
  async wish(wish: LayerWish): Promise<void> {
    await request(`${this.url}/layers`, {
      method: "POST",
      headers: this.#access.headers({ "Content-Type": "application/json" }),
      body: JSON.stringify(wish),
    });
  }

  /** Whether the server tells what changes for the session. */
  get hasEvents(): boolean {
    return this.#events !== null;
  }

  /** Subscribes to events of the session, and begins to read them. Throws a {@link Problem}. */
  async listen(names: string[], signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const endpoint = new URL(this.#events ?? "sse", this.url).href;
    const subscribed = await request(endpoint, {
      method: "POST",
      headers: this.#access.headers({ "Content-Type": "application/json" }),
      body: JSON.stringify(names),
      signal,
    });
    const subscription = new URL(subscribed.headers.get("location") ?? "", endpoint).href;
    const { body } = await request(subscription, { headers: this.#access.headers({ Accept: "text/event-stream" }), signal });
    if (!body) throw Problem.unreachable();
    return body;
  }

  /** Ends the session. Also works while the page goes away. */
  close(): void {
    fetch(this.url, { method: "DELETE", headers: this.#access.headers(), keepalive: true }).catch(() => {
      // Nobody there to tell; the server's own deadlines free the session.
    });
  }
}

async function request(url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { cache: "no-store", ...init });
  } catch {
    throw Problem.unreachable();
  }
  if (!response.ok) throw await Problem.fromResponse(response);
  return response;
}
