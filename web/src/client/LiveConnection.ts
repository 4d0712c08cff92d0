import type { Access } from "./Access";
import { BackOff } from "./BackOff";
import { thisBrowser, type Browser } from "./Browser";
import { fragmentFromCandidate, fragmentFromSdp, graftFragment } from "./IceFragment";
import { isLoopbackOnly, noMediaProblem } from "./MediaPath";
import { Problem } from "./Problem";
import { SessionResource } from "./SessionResource";

/**
 * State of a connection:
 *
 * - `idle`: not started, or stopped by the page
 * - `connecting`: on the way to the first connection
 * - `connected`: media can flow
 * - `reconnecting`: the connection was lost, or the first tries failed; retries go on by themselves
 * - `refused`: the server refused, and another try would be refused too; see `problem`
 * - `ended`: the server ended the session on purpose
 */
export type ConnectionState =
  "idle" | "connecting" | "connected" | "reconnecting" | "refused" | "ended";

/** Time from `disconnected`, which often heals by itself, to an ICE restart. A guess. */
const DISCONNECTED_MS = 2_000;
/** Time from an ICE restart that has not helped to a new session. A guess. */
const RESTART_MS = 4_000;
/**
 * Time from an offer to its answer: a POST over new TLS on a bad link takes some seconds. A guess
 * with room.
 */
const ANSWER_MS = 15_000;
/**
 * Time from an answer to a connection: a handshake over a bad link takes 2–3 s. A guess with room.
 */
const CONNECT_MS = 10_000;
/**
 * The same on the machine's own loopback interface: usually 20 ms, on a busy machine ten times
 * that.
 */
const LOOPBACK_CONNECT_MS = 3_000;
/** Time from a closed DTLS connection to the server's word on the session. A guess. */
const GOODBYE_MS = 4_000;
/**
 * A connection that lasted this long counts as a success, after which waits are short again. A
 * guess.
 */
const LASTING_MS = 5_000;

/** Status codes that mean that the same request would be refused again. */
const FINAL = new Set([400, 401, 403, 404, 405, 406, 413, 415, 422]);

/**
 * One peer connection and its session resource, kept alive: the part that WHIP and WHEP share.
 *
 * Repairs itself step by step (waits, restarts ICE, opens a new session), with growing pauses in
 * between. Ends its session when the page goes away, and opens one when the page comes back.
 */
export abstract class LiveConnection {
  /** Called after `state` or `problem` changed. */
  onchange: () => void = () => {};

  protected readonly browser: Browser;
  readonly #endpoint: string;
  readonly #access: Access;
  readonly #backOff: BackOff;
  #state: ConnectionState = "idle";
  #problem: Problem | null = null;
  #peer: RTCPeerConnection | null = null;
  #session: SessionResource | null = null;
  #iceServers: RTCIceServer[] = [];
  /** Number of the attempt; results of earlier ones are dropped. */
  #attempt = 0;
  /** Number of the ICE restart; results of earlier ones are dropped. */
  #restart = 0;
  /** The one deadline or wait that runs; setting another replaces it. */
  #timer: number | undefined;
  /** Whether no attempt is under way: the timer is the wait before the next one. */
  #isWaiting = false;
  #wasConnected = false;
  /** Time at which the present session connected; `null` while it has not. */
  #connectedAt: number | null = null;
  /** Whether a session is to be opened when the page comes back. */
  #asleep = false;
  #postedAt: number | null = null;
  #unlisten: (() => void)[] = [];

  constructor(endpoint: string, access: Access, browser: Browser = thisBrowser) {
    this.#endpoint = endpoint;
    this.#access = access;
    this.browser = browser;
    this.#backOff = new BackOff(undefined, undefined, browser);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** The reason why there is no connection, where one is known. */
  get problem(): Problem | null {
    return this.#problem;
  }

  get peer(): RTCPeerConnection | null {
    return this.#peer;
  }

  get session(): SessionResource | null {
    return this.#session;
  }

  /** Time (`Browser.now`) at which the current session's offer was sent. */
  get postedAt(): number | null {
    return this.#postedAt;
  }

  /** Opens a session, and keeps one open from now on. */
  start(): void {
    this.#unlisten.splice(0).forEach((unlisten) => unlisten());
    this.#unlisten = [
      this.browser.listen("pagehide", () => this.#sleep()),
      this.browser.listen("pageshow", () => this.#wake()),
      this.browser.listen("online", () => this.#handleOnline()),
      this.browser.listen("visibilitychange", () => !this.browser.isHidden && this.#hurry()),
    ];
    this.#asleep = false;
    this.#wasConnected = false;
    this.#problem = null;
    this.#backOff.reset();
    void this.#open();
  }

  /** Ends the session, and opens no other. */
  stop(): void {
    this.#unlisten.splice(0).forEach((unlisten) => unlisten());
    this.#asleep = false;
    this.#drop();
    this.#set("idle", null);
  }

  /** Replaces the session at once, because the sent or received media changes. */
  reopen(): void {
    if (this.#state === "idle" || this.#asleep) return;
    void this.#open();
  }

  /**
   * Replaces a session that the server does not know any more: at once, or after a pause if it was
   * a short one.
   */
  replaceLost(): void {
    if (this.#state === "idle" || this.#asleep) return;
    if (this.#hasLasted) void this.#open();
    else this.#retry(null);
  }

  /**
   * Replaces a session that the server has ended because its DTLS handshake failed, though this
   * browser takes it for connected.
   */
  replaceFailed(problem: Problem): void {
    if (this.#state === "connected") this.#retry(problem);
  }

  /**
   * Asks the server whether it still knows the session, and replaces the session if not. Call when
   * in doubt.
   */
  async verify(): Promise<void> {
    const session = this.#session;
    if (!session || this.#state !== "connected") return;
    try {
      if ((await session.report()) === null && session === this.#session) this.replaceLost();
    } catch {
      // Without an answer a connection that works is kept.
    }
  }

  /** Adds the media to be sent or received. */
  protected abstract prepare(peer: RTCPeerConnection): void;

  /** Changes our description before it is used. */
  protected polishOffer(sdp: string): string {
    return sdp;
  }

  /** Changes the server's description before it is used. */
  protected polishAnswer(sdp: string): string {
    return sdp;
  }

  /** Called when an answer has been applied. */
  protected negotiated(_peer: RTCPeerConnection): void {}

  /** Whether another try would be refused too. */
  protected isFinal(problem: Problem): boolean {
    return FINAL.has(problem.status);
  }

  protected get wasConnected(): boolean {
    return this.#wasConnected;
  }

  async #open(): Promise<void> {
    this.#drop();
    const attempt = this.#attempt;
    const current = (): boolean => attempt === this.#attempt;
    this.#set(this.#wasConnected || this.#problem ? "reconnecting" : "connecting", this.#problem);
    this.#after(ANSWER_MS, () => this.#retry(Problem.unreachable()));
    try {
      const peer = this.browser.createPeer({
        bundlePolicy: "max-bundle",
        iceServers: this.#iceServers,
      });
      this.#peer = peer;
      this.prepare(peer);
      this.#supervise(peer, current);

      const offer = await peer.createOffer();
      if (!current()) return;
      const sdp = this.polishOffer(offer.sdp ?? "");
      this.#postedAt = this.browser.now();
      // The offer needs no candidates (an ICE-lite server learns our addresses from our checks), so
      // it is sent while the browser still applies it.
      const [session] = await Promise.all([
        this.#openSession(sdp, current),
        peer.setLocalDescription({ type: "offer", sdp }),
      ]);
      if (!current()) return;
      if (session.iceServers.length > 0) {
        this.#iceServers = session.iceServers;
        peer.setConfiguration({ ...peer.getConfiguration(), iceServers: session.iceServers });
      }
      await peer.setRemoteDescription({ type: "answer", sdp: this.polishAnswer(session.answer) });
      if (!current()) return;
      this.negotiated(peer);
      this.#watchTransport(peer, current);
      if (peer.connectionState !== "connected") {
        const within = isLoopbackOnly(session.answer) ? LOOPBACK_CONNECT_MS : CONNECT_MS;
        this.#after(within, () => void this.#giveUp(peer, current));
      }
    } catch (thrown) {
      if (current()) this.#failed(Problem.from(thrown));
    }
  }

  async #openSession(sdp: string, current: () => boolean): Promise<SessionResource> {
    const session = await SessionResource.open(this.#endpoint, sdp, this.#access, this.browser);
    // After stop(), or after another attempt began, this is the only place that knows the session.
    if (current()) this.#session = session;
    else session.close();
    return session;
  }

  #supervise(peer: RTCPeerConnection, current: () => boolean): void {
    peer.onicecandidate = ({ candidate }) => {
      const session = this.#session;
      if (!current() || !candidate || !session?.wantsCandidates || !peer.localDescription) return;
      session.trickle(fragmentFromCandidate(peer.localDescription.sdp, candidate)).catch(() => {});
    };
    peer.onconnectionstatechange = () => {
      if (!current()) return;
      switch (peer.connectionState) {
        case "connected":
          this.browser.clearTimeout(this.#timer);
          this.#connectedAt ??= this.browser.now();
          this.#wasConnected = true;
          this.#set("connected", null);
          break;
        case "disconnected":
          this.#after(DISCONNECTED_MS, () => void this.#restartIce(peer, current));
          break;
        case "failed":
          if (this.#connectedAt !== null) this.#retry(null);
          else void this.#giveUp(peer, current);
          break;
        case "closed":
          void this.#closedByServer(current);
          break;
        case "new":
        case "connecting":
          break;
      }
    };
  }

  /** A server that ends a session, or stops, closes DTLS. */
  #watchTransport(peer: RTCPeerConnection, current: () => boolean): void {
    const [transceiver] = peer.getTransceivers();
    const transport = transceiver?.receiver.transport ?? transceiver?.sender.transport;
    transport?.addEventListener("statechange", () => {
      if (current() && transport.state === "closed") void this.#closedByServer(current);
    });
  }

  async #closedByServer(current: () => boolean): Promise<void> {
    const session = this.#session;
    this.#after(GOODBYE_MS, () => this.#retry(null));
    try {
      if (session && (await session.report()) === null) {
        if (!current()) return;
        this.#session = null;
        this.#drop();
        this.#set("ended", null);
        return;
      }
    } catch {
      // The server is restarting or out of reach: a loss like any other.
    }
    if (current()) this.#retry(null);
  }

  async #restartIce(peer: RTCPeerConnection, currentAttempt: () => boolean): Promise<void> {
    const session = this.#session;
    if (!session) return this.#retry(null);
    const restart = ++this.#restart;
    const current = (): boolean => currentAttempt() && restart === this.#restart;
    this.#set("reconnecting", null);
    this.#after(RESTART_MS, () => this.#retry(null));
    try {
      const offer = await peer.createOffer({ iceRestart: true });
      const sdp = this.polishOffer(offer.sdp ?? "");
      if (!current()) return;
      await peer.setLocalDescription({ type: "offer", sdp });
      const fragment = await session.restart(fragmentFromSdp(sdp));
      if (!current()) return;
      const answer = graftFragment(peer.currentRemoteDescription?.sdp ?? session.answer, fragment);
      await peer.setRemoteDescription({ type: "answer", sdp: answer });
      this.negotiated(peer);
    } catch (thrown) {
      if (!current()) return;
      const problem = Problem.from(thrown);
      if (peer.connectionState === "connected" && !problem.isGone) {
        // The old path works again, and the server has not said that the session is gone.
        return void peer.setLocalDescription({ type: "rollback" }).catch(() => {});
      }
      // 404: the server does not know the session; 405, 412 …: it cannot restart ICE. A new session
      // helps in each case, so the answer is no problem to show, unless it says when to come again.
      this.#retry(problem.status === 0 || problem.retryAfterMs !== null ? problem : null);
    }
  }

  #failed(problem: Problem): void {
    if (!this.isFinal(problem)) return this.#retry(problem);
    this.#drop();
    this.#set("refused", problem);
  }

  /** Opens a new session after a pause: the back-off, on top of the time that the server named. */
  #retry(problem: Problem | null): void {
    if (this.#hasLasted) this.#backOff.reset();
    this.#drop();
    this.#isWaiting = true;
    this.#after((problem?.retryAfterMs ?? 0) + this.#backOff.next(), () => void this.#open());
    this.#set("reconnecting", problem);
  }

  /** Whether the present session has been connected for a while. */
  get #hasLasted(): boolean {
    return this.#connectedAt !== null && this.browser.now() - this.#connectedAt >= LASTING_MS;
  }

  /**
   * Gives up an attempt that has not connected. The server knows the reason of a handshake that
   * failed; the page itself has to find all others.
   */
  async #giveUp(peer: RTCPeerConnection, current: () => boolean): Promise<void> {
    const problem = (await this.#session?.whyFailed()) ?? null;
    // It may have connected, late, while the server was asked.
    if (!current() || peer.connectionState === "connected") return;
    this.#retry(problem ?? this.#noMedia(peer));
  }

  #noMedia(peer: RTCPeerConnection): Problem {
    return noMediaProblem({
      answer: this.#session?.answer ?? null,
      offer: peer.localDescription?.sdp ?? "",
      pageHost: this.browser.hostname,
    });
  }

  #drop(): void {
    this.#attempt += 1;
    this.browser.clearTimeout(this.#timer);
    if (this.#peer) {
      this.#peer.onconnectionstatechange = null;
      this.#peer.onicecandidate = null;
      this.#peer.ontrack = null;
      this.#peer.close();
    }
    this.#session?.close();
    this.#peer = null;
    this.#session = null;
    this.#connectedAt = null;
    this.#isWaiting = false;
  }

  #after(ms: number, then: () => void): void {
    this.browser.clearTimeout(this.#timer);
    this.#timer = this.browser.setTimeout(then, ms);
  }

  #set(state: ConnectionState, problem: Problem | null): void {
    if (state === this.#state && problem === this.#problem) return;
    this.#state = state;
    this.#problem = problem;
    this.onchange();
  }

  #sleep(): void {
    this.#asleep = this.#state !== "idle" && this.#state !== "refused" && this.#state !== "ended";
    this.#drop();
  }

  /** The page is back from the back/forward cache. */
  #wake(): void {
    if (!this.#asleep) return;
    this.#asleep = false;
    void this.#open();
  }

  #handleOnline(): void {
    const peer = this.#peer;
    if (this.#state === "connected" && peer?.connectionState === "disconnected") {
      const attempt = this.#attempt;
      return void this.#restartIce(peer, () => attempt === this.#attempt);
    }
    // An attempt that is under way went out over the network that was lost.
    if (this.#state === "reconnecting" && !this.#isWaiting && !this.#asleep) void this.#open();
    else this.#hurry();
  }

  /** Ends a back-off whose reason may be gone; not a wait that the server asked for. */
  #hurry(): void {
    if (this.#isWaiting && !this.#problem?.retryAfterMs) void this.#open();
  }
}
