import type { Access } from "./Access";
import type { LayerWish } from "./Api";
import { thisBrowser, type Browser } from "./Browser";
import { iceServersFromLink, linkTo } from "./LinkHeader";
import { Problem } from "./Problem";

/** The relation of a session's server-sent events (draft-murillo-whep-02 §4.6.1). */
const EVENTS = "urn:ietf:params:whep:ext:core:server-sent-events";
/** The same for a publisher's session: an extension of our server, which WHIP does not have. */
const PUBLISHER_EVENTS = "urn:nowcast:whip:ext:server-sent-events";

/** Longest wait for the server's reason why a session failed. A guess. */
const WHY_FAILED_MS = 2_000;

/**
 * The HTTP resource of one WHIP or WHEP session: the address in `Location` (RFC 9725 §4.2, §4.3).
 */
export class SessionResource {
  /** Address of the session. It is a secret: with it anyone can end the session. */
  readonly url: string;
  /** The server's SDP answer. */
  readonly answer: string;
  /** ICE servers that the server recommends. */
  readonly iceServers: RTCIceServer[];
  readonly #access: Access;
  readonly #browser: Browser;
  /** Address for subscriptions to events of the session. */
  readonly #events: string | null;
  #etag: string | null;

  private constructor(
    url: string,
    answer: string,
    headers: Headers,
    access: Access,
    browser: Browser,
  ) {
    const links = headers.get("link");
    this.url = url;
    this.answer = answer;
    this.iceServers = iceServersFromLink(links);
    this.#events = linkTo(EVENTS, links) ?? linkTo(PUBLISHER_EVENTS, links);
    this.#etag = headers.get("etag");
    this.#access = access;
    this.#browser = browser;
  }

  /** Posts an offer. Throws a {@link Problem}. */
  static async open(
    endpoint: string,
    offer: string,
    access: Access,
    browser: Browser = thisBrowser,
  ): Promise<SessionResource> {
    const response = await request(browser, endpoint, {
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
    const url = new URL(location, response.url).href;
    return new SessionResource(url, await response.text(), response.headers, access, browser);
  }

  /**
   * Whether the server has a use for our candidates: an ICE-lite server learns them from our
   * checks.
   */
  get wantsCandidates(): boolean {
    return !/^a=ice-lite/m.test(this.answer);
  }

  /** Sends candidates. Where a server refuses them (405, 501), only the candidates are lost. */
  async trickle(fragment: string): Promise<void> {
    await this.#request(this.url, {
      method: "PATCH",
      headers: {
        "Content-Type": "application/trickle-ice-sdpfrag",
        ...(this.#etag === null ? {} : { "If-Match": this.#etag }),
      },
      body: fragment,
    });
  }

  /**
   * Restarts ICE. Returns the server's new credentials and candidates. Throws a {@link Problem}.
   */
  async restart(fragment: string): Promise<string> {
    // RFC 9725 §4.3.3: an ICE restart goes with `If-Match: "*"`, and its answer brings the next
    // tag.
    const response = await this.#request(this.url, {
      method: "PATCH",
      headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" },
      body: fragment,
    });
    this.#etag = response.headers.get("etag") ?? this.#etag;
    if (response.status !== 200) {
      throw new Problem({ status: response.status, title: "The server did not restart ICE" });
    }
    return await response.text();
  }

  /**
   * Returns the server's JSON report on the session; `null` if there is no such session. Throws a
   * {@link Problem}.
   */
  async report(): Promise<unknown> {
    try {
      const response = await this.#request(this.url, { headers: { Accept: "application/json" } });
      return response.status === 204 ? {} : await response.json();
    } catch (thrown) {
      if (thrown instanceof Problem && thrown.isGone) return null;
      throw thrown;
    }
  }

  /**
   * Returns the reason why the session's DTLS handshake failed, as the server reports it; `null` if
   * the session has not failed in that way, or if the server does not answer in time.
   */
  async whyFailed(): Promise<Problem | null> {
    const late = new AbortController();
    const timer = this.#browser.setTimeout(() => late.abort(), WHY_FAILED_MS);
    try {
      const headers = { Accept: "application/json" };
      await this.#request(this.url, { headers, signal: late.signal });
      return null;
    } catch (thrown) {
      return thrown instanceof Problem && thrown.handshake !== null ? thrown : null;
    } finally {
      this.#browser.clearTimeout(timer);
    }
  }

  /** Asks for a layer of the video, or for none. Throws a {@link Problem}. */
  async wish(wish: LayerWish): Promise<void> {
    await this.#request(`${this.url}/layers`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(wish),
    });
  }

  /** Whether the server has an event stream for the session. */
  get hasEvents(): boolean {
    return this.#events !== null;
  }

  /** Subscribes to events of the session, and begins to read them. Throws a {@link Problem}. */
  async listen(names: string[], signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const endpoint = new URL(this.#events ?? "sse", this.url).href;
    const subscribed = await this.#request(endpoint, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(names),
      signal,
    });
    const subscription = new URL(subscribed.headers.get("location") ?? "", endpoint).href;
    const { body } = await this.#request(subscription, {
      headers: { Accept: "text/event-stream" },
      signal,
    });
    if (!body) throw Problem.unreachable();
    return body;
  }

  /** Ends the session. Also works while the page goes away. */
  close(): void {
    const init = { method: "DELETE", headers: this.#access.headers(), keepalive: true };
    this.#browser.fetch(this.url, init).catch(() => {
      // The server is out of reach; its own deadlines free the session.
    });
  }

  async #request(
    url: string,
    init: RequestInit & { headers: Record<string, string> },
  ): Promise<Response> {
    return await request(this.#browser, url, {
      ...init,
      headers: this.#access.headers(init.headers),
    });
  }
}

/** Throws a {@link Problem} unless the server answers with 2xx. */
async function request(browser: Browser, url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await browser.fetch(url, { cache: "no-store", ...init });
  } catch {
    throw Problem.unreachable();
  }
  if (!response.ok) throw await Problem.fromResponse(response);
  return response;
}
