import type { LayerWish } from "./Api";
import { thisBrowser, type Browser } from "./Browser";
import { Problem } from "./Problem";

/**
 * A hidden page gives its picture up after this long. A guess: looking something up in another tab
 * takes less.
 */
const HIDDEN_AFTER_MS = 5_000;

/** The parts of a connection that a wish needs. */
export interface WishTarget {
  readonly state: string;
  readonly session: { readonly url: string; wish(wish: LayerWish): Promise<void> } | null;
}

/**
 * Tells the server which picture a viewer asks for: the chosen size, and none while the page is
 * hidden.
 */
export class PictureWish {
  readonly #client: WishTarget;
  readonly #browser: Browser;
  #chosen: string | null = null;
  #isHidden = false;
  /** The session that was told a wish, and the wish; empty while it knows of none. */
  #told = "";
  #timer: number | undefined;

  constructor(client: WishTarget, browser: Browser = thisBrowser) {
    this.#client = client;
    this.#browser = browser;
  }

  /** The `rid` that the viewer chose; `null`: the server chooses. */
  get chosen(): string | null {
    return this.#chosen;
  }

  choose(rid: string | null): void {
    this.#chosen = rid;
    this.tell();
  }

  /** The picture is in sight from now on, or is not. */
  look(isSeen: boolean): void {
    this.#browser.clearTimeout(this.#timer);
    const change = (): void => {
      this.#isHidden = !isSeen;
      this.tell();
    };
    if (isSeen) change();
    else this.#timer = this.#browser.setTimeout(change, HIDDEN_AFTER_MS);
  }

  /**
   * Tells the server, unless it knows. Call once a second: the session may be a new one, or the
   * last try may have failed.
   */
  tell(): void {
    const session = this.#client.session;
    if (!session || this.#client.state !== "connected") return;
    const wish: LayerWish = { encodingId: this.#chosen, paused: this.#isHidden };
    const said = `${session.url} ${JSON.stringify(wish)}`;
    // A new session sends the picture of its own choice.
    const knowsNothing = !this.#told.startsWith(`${session.url} `);
    if (said === this.#told || (knowsNothing && this.#chosen === null && !this.#isHidden)) return;
    this.#told = said;
    session.wish(wish).catch((thrown: unknown) => this.#handleRefusal(said, Problem.from(thrown)));
  }

  #handleRefusal(said: string, { status }: Problem): void {
    if (said !== this.#told) return;
    const isMomentary = status === 0 || status === 429 || status >= 500;
    // The layer is gone, or the server has no layers to choose: the server chooses from now on.
    if (!isMomentary) this.#chosen = null;
    // Not known to the server, though not empty: the next call of `tell` tries again.
    else this.#told = `${said.split(" ", 1)[0]} `;
  }
}
