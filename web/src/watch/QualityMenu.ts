import type { LayerStatus, SentReport } from "../client/Api";
import type { LayerWish } from "../client/SessionResource";
import type { WhepClient } from "../client/WhepClient";

/** A page that nobody sees is given no picture after this long. Looking something up in another tab takes less. */
const HIDDEN_AFTER_MS = 5_000;

/** Lets the viewer choose a size, or leave it to the network; and gives the picture up while nobody looks. */
export class QualityMenu {
  readonly #select: HTMLSelectElement;
  readonly #client: WhepClient;
  #wished: string | null = null;
  #isHidden = false;
  /** The session that was told, and what. */
  #told = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(select: HTMLSelectElement, client: WhepClient) {
    this.#select = select;
    this.#client = client;
    select.addEventListener("change", () => {
      this.#wished = select.value || null;
      this.tell();
    });
    document.addEventListener("visibilitychange", () => this.#look());
    document.addEventListener("leavepictureinpicture", () => this.#look());
  }

  /** Shows what there is to choose from. */
  update(layers: LayerStatus[], sent: SentReport | null): void {
    const named = layers.filter(({ rid, height }) => rid !== null && height !== null);
    this.#select.hidden = named.length < 2;
    if (this.#select.hidden || document.activeElement === this.#select) return;
    const active = named.find(({ rid }) => rid === sent?.layer);
    const options = [
      new Option(active && this.#wished === null ? `Auto · ${active.height}p` : "Auto", ""),
      ...named.map(({ rid, height }) => new Option(`${height}p`, rid ?? "")),
    ];
    const text = (all: Iterable<HTMLOptionElement>): string => [...all].map((option) => `${option.value}=${option.text}`).join();
    if (text(options) !== text(this.#select.options)) this.#select.replaceChildren(...options);
    this.#select.value = this.#wished ?? "";
    // A layer that was chosen and is not sent any more.
    if (this.#select.selectedIndex < 0) this.#select.selectedIndex = 0;
  }

  /** Says to the server what is wished, unless it knows. Call when a session may be new. */
  tell(): void {
    const session = this.#client.session;
    if (!session || this.#client.state !== "connected") return;
    const wish: LayerWish = { encodingId: this.#wished, paused: this.#isHidden };
    const said = `${session.url} ${JSON.stringify(wish)}`;
    if (said === this.#told || (this.#told === "" && this.#wished === null && !this.#isHidden)) return;
    this.#told = said;
    session.wish(wish).catch(() => {
      // The layer is gone, or the server does not know of layers: then it is as it was.
      this.#wished = null;
    });
  }

  #look(): void {
    clearTimeout(this.#timer);
    const isSeen = !document.hidden || document.pictureInPictureElement !== null;
    this.#timer = setTimeout(
      () => {
        this.#isHidden = !isSeen;
        this.tell();
      },
      isSeen ? 0 : HIDDEN_AFTER_MS,
    );
  }
}
