/** Events of the window and the document that connections react to. */
export type PageEventName = "pagehide" | "pageshow" | "online" | "visibilitychange";

/**
 * The time, network and page functions of the browser that the client classes use.
 *
 * Each class takes one as its last argument, so that tests can hand in a virtual clock and a
 * scripted network.
 */
export interface Browser {
  /** Wall-clock time of `now() === 0`, in milliseconds since the Unix epoch. */
  readonly timeOrigin: number;
  /** Whether the page is in the background. */
  readonly isHidden: boolean;
  /** Host name in the address of the page. */
  readonly hostname: string;
  /** Locks that all tabs of the browser share; `null` on pages without https, which have none. */
  readonly locks: Pick<LockManager, "request"> | null;
  /** Milliseconds since the page was opened; never steps back. */
  now(): number;
  /** A number from 0 up to, but not including, 1. */
  random(): number;
  setTimeout(action: () => void, ms: number): number;
  clearTimeout(timer: number | undefined): void;
  fetch(url: string, init: RequestInit): Promise<Response>;
  createPeer(configuration: RTCConfiguration): RTCPeerConnection;
  createStream(): MediaStream;
  /** Calls `listener` at each event of this name. Returns a function that stops it. */
  listen(name: PageEventName, listener: (event: Event) => void): () => void;
}

/** The browser that runs this page. */
export const thisBrowser: Browser = {
  get timeOrigin() {
    return performance.timeOrigin;
  },
  get isHidden() {
    return document.hidden;
  },
  get hostname() {
    return location.hostname;
  },
  get locks() {
    return navigator.locks ?? null;
  },
  now: () => performance.now(),
  random: () => Math.random(),
  setTimeout: (action, ms) => window.setTimeout(action, ms),
  clearTimeout: (timer) => window.clearTimeout(timer),
  fetch: (url, init) => fetch(url, init),
  createPeer: (configuration) => new RTCPeerConnection(configuration),
  createStream: () => new MediaStream(),
  listen(name, listener) {
    const target = name === "visibilitychange" ? document : window;
    target.addEventListener(name, listener);
    return () => target.removeEventListener(name, listener);
  },
};
