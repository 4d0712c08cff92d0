import type { Access } from "./Access";
import { BackOff } from "./BackOff";
import { fragmentFromCandidate, fragmentFromSdp, graftFragment } from "./IceFragment";
import { isLoopbackOnly, noMediaProblem } from "./MediaPath";
import { Problem } from "./Problem";
import { SessionResource } from "./SessionResource";

/**
 * Where a connection stands:
 *
 * - `idle`: not started, or stopped by us
 * - `connecting`: on the way to the first connection
 * - `connected`: media can flow
 * - `reconnecting`: it was lost, or the first tries failed; goes on by itself
 * - `refused`: the server said no, and asking again would not help; see `problem`
 * - `ended`: the server ended the session on purpose
 */
export type ConnectionState = "idle" | "connecting" | "connected" | "reconnecting" | "refused" | "ended";

/** `disconnected` often heals by itself; after this long it is worth an ICE restart. */
const DISCONNECTED_MS = 2_000;
/** An ICE restart that has not helped by then is given up for a new session. A guess. */
const RESTART_MS = 4_000;
/** Answered, yet not connected: a handshake over a bad link takes 2–3 s. A guess with room. */
const CONNECT_MS = 10_000;
/** On the machine's own loopback interface a handshake takes some 20 ms, on a busy machine ten times that. */
const LOOPBACK_CONNECT_MS = 3_000;

/** Answers that say that the request is wrong, not the moment. */
const FINAL = new Set([400, 401, 403, 404, 405, 406, 413, 415, 422]);

/**
 * What WHIP and WHEP have in common: one peer connection and its session resource, kept alive.
 *
 * Repairs itself step by step: waits, restarts ICE, opens a new session; with growing pauses in between.
 * Ends its session when the page goes away and comes back with the page.
 */
export abstract class LiveConnection {
  /** Called after `state` or `problem` changed. */
  onchange: () => void = () => {};

  readonly #endpoint: string;
  readonly #access: Access;
  readonly #backOff = new BackOff();
  #state: ConnectionState = "idle";
  #problem: Problem | null = null;
  #peer: RTCPeerConnection | null = null;
  #session: SessionResource | null = null;
  #iceServers: RTCIceServer[] = [];
  /** Counts attempts; what comes back to an older one is dropped. */
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wasConnected = false;
  #asleep = false;
  #postedAt: number | null = null;

  constructor(endpoint: string, access: Access) {
    this.#endpoint = endpoint;
    this.#access = access;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** What is in the way, if something is. */
  get problem(): Problem | null {
    return this.#problem;
  }

  get peer(): RTCPeerConnection | null {
    return this.#peer;
  }

  get session(): SessionResource | null {
    return this.#session;
  }

  /** When the current session's offer went out (`performance.now()`). */
  get postedAt(): number | null {
    return this.#postedAt;
  }

  /** Opens a session and keeps one open from now on. */
  start(): void {
    addEventListener("pagehide", this.#sleep);
    addEventListener("pageshow", this.#wake);
    addEventListener("online", this.#hurry);
    this.#wasConnected = false;
    this.#backOff.reset();
    void this.#open();
  }

  /** Ends the session, and the wish for one. */
  stop(): void {
    removeEventListener("pagehide", this.#sleep);
    removeEventListener("pageshow", this.#wake);
    removeEventListener("online", this.#hurry);
    this.#drop();
    this.#set("idle", null);
  }

  /** Gives up this session for a new one, at once. */
  reopen(): void {
    if (this.#state === "idle" || this.#asleep) return;
    void this.#open();
  }

  /** There is reason to doubt that the server still knows us: asks, and opens a new session if it does not. */
  async verify(): Promise<void> {
    const session = this.#session;
    if (!session || this.#state !== "connected") return;
    try {
      if ((await session.report()) === null && session === this.#session) this.reopen();
    } catch {
      // No answer is no reason to give up a connection that works.
    }
  }

  /** Adds what is to be sent or received. */
  protected abstract prepare(peer: RTCPeerConnection): void;

  /** May change our description before it is used. */
  protected polishOffer(sdp: string): string {
    return sdp;
  }

  /** May change the server's description before it is used. */
  protected polishAnswer(sdp: string): string {
    return sdp;
  }

  /** The answer has been taken. */
  protected negotiated(_peer: RTCPeerConnection): void {}

  /** Whether asking again would not help. */
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
    try {
      const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers: this.#iceServers });
      this.#peer = peer;
      this.prepare(peer);
      this.#supervise(peer, current);

      const offer = await peer.createOffer();
      if (!current()) return;
      const sdp = this.polishOffer(offer.sdp ?? "");
      this.#postedAt = performance.now();
      // The offer needs no candidates (an ICE-lite server sees where we come from), so it goes out
      // while the browser still sets it up.
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
        this.#after(within, () => void this.#notConnected(peer, current));
      }
    } catch (thrown) {
      if (current()) this.#failed(Problem.from(thrown));
    }
  }

  async #openSession(sdp: string, current: () => boolean): Promise<SessionResource> {
    const session = await SessionResource.open(this.#endpoint, sdp, this.#access);
    // Stopped meanwhile: then nobody else would end it.
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
          clearTimeout(this.#timer);
          this.#backOff.reset();
          this.#wasConnected = true;
          this.#set("connected", null);
          break;
        case "disconnected":
          this.#after(DISCONNECTED_MS, () => void this.#restartIce(peer, current));
          break;
        case "failed":
          if (this.#wasConnected) this.#retry(null);
          else void this.#notConnected(peer, current);
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

  /** A server that says goodbye closes DTLS. */
  #watchTransport(peer: RTCPeerConnection, current: () => boolean): void {
    const [transceiver] = peer.getTransceivers();
    const transport = transceiver?.receiver.transport ?? transceiver?.sender.transport;
    transport?.addEventListener("statechange", () => {
      if (current() && transport.state === "closed") void this.#closedByServer(current);
    });
  }

  async #closedByServer(current: () => boolean): Promise<void> {
    const session = this.#session;
    try {
      if (session && (await session.report()) === null) {
        if (!current()) return;
        this.#session = null;
        this.#drop();
        this.#set("ended", null);
        return;
      }
    } catch {
      // It does not say; then it is a loss like any other.
    }
    if (current()) this.#retry(null);
  }

  async #restartIce(peer: RTCPeerConnection, current: () => boolean): Promise<void> {
    const session = this.#session;
    if (!session) return this.#retry(null);
    this.#set("reconnecting", null);
    this.#after(RESTART_MS, () => this.#retry(null));
    try {
      const offer = await peer.createOffer({ iceRestart: true });
      const sdp = this.polishOffer(offer.sdp ?? "");
      await peer.setLocalDescription({ type: "offer", sdp });
      const fragment = await session.restart(fragmentFromSdp(sdp));
      if (!current()) return;
      const answer = graftFragment(peer.currentRemoteDescription?.sdp ?? session.answer, fragment);
      await peer.setRemoteDescription({ type: "answer", sdp: answer });
      this.negotiated(peer);
    } catch (thrown) {
      if (!current()) return;
      const problem = Problem.from(thrown);
      // 404: the server has forgotten us; 412, 405 …: it cannot. A new session helps in each case.
      this.#retry(problem.status === 0 ? problem : null);
    }
  }

  #failed(problem: Problem): void {
    if (!this.isFinal(problem)) return this.#retry(problem);
    this.#drop();
    this.#set("refused", problem);
  }

  /** Opens a new session after a pause. */
  #retry(problem: Problem | null): void {
    this.#drop();
    this.#set("reconnecting", problem);
    this.#after(Math.max(problem?.retryAfterMs ?? 0, this.#backOff.next()), () => void this.#open());
  }

  /** It never connected. The server knows why a handshake failed; of all else this browser has to find the cause. */
  async #notConnected(peer: RTCPeerConnection, current: () => boolean): Promise<void> {
    const problem = (await this.#session?.whyFailed()) ?? null;
    if (current()) this.#retry(problem ?? this.#noMedia(peer));
  }

  #noMedia(peer: RTCPeerConnection): Problem {
    return noMediaProblem({
      answer: this.#session?.answer ?? null,
      offer: peer.localDescription?.sdp ?? "",
      pageHost: location.hostname,
    });
  }

  #drop(): void {
    this.#attempt += 1;
    clearTimeout(this.#timer);
    if (this.#peer) {
      this.#peer.onconnectionstatechange = null;
      this.#peer.onicecandidate = null;
      this.#peer.ontrack = null;
      this.#peer.close();
    }
    this.#session?.close();
    this.#peer = null;
    this.#session = null;
  }

  #after(ms: number, then: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
  }

  #set(state: ConnectionState, problem: Problem | null): void {
    if (state === this.#state && problem === this.#problem) return;
    this.#state = state;
    this.#problem = problem;
    this.onchange();
  }

  readonly #sleep = (): void => {
    this.#asleep = this.#state !== "idle" && this.#state !== "refused" && this.#state !== "ended";
    this.#drop();
  };

  /** Back from the back/forward cache. */
  readonly #wake = (): void => {
    if (!this.#asleep) return;
    this.#asleep = false;
    void this.#open();
  };

  /** The network is back: no reason to wait for the pause to end. */
  readonly #hurry = (): void => {
    if (this.#state === "reconnecting") void this.#open();
  };
}
