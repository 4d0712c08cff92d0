import type { LayerStatus, SentReport } from "../client/Api";
import type { PictureWish } from "../client/PictureWish";

/** Lets the viewer choose a size, or leave the choice to the server. */
export class QualityMenu {
  readonly #select: HTMLSelectElement;
  readonly #wish: PictureWish;

  constructor(select: HTMLSelectElement, wish: PictureWish) {
    this.#select = select;
    this.#wish = wish;
    select.addEventListener("change", () => wish.choose(select.value || null));
    const look = (): void =>
      wish.look(!document.hidden || document.pictureInPictureElement !== null);
    document.addEventListener("visibilitychange", look);
    document.addEventListener("leavepictureinpicture", look);
  }

  /** Offers the sizes that are published. */
  update(layers: LayerStatus[], sent: SentReport | null): void {
    const choices = sizeChoices(layers, sent, this.#wish.chosen);
    this.#select.hidden = choices === null;
    // The list must not change while the viewer chooses from it.
    if (choices === null || document.activeElement === this.#select) return;
    const shown = [...this.#select.options].map(({ value, text }) => ({ value, text }));
    if (JSON.stringify(shown) !== JSON.stringify(choices)) {
      this.#select.replaceChildren(...choices.map(({ value, text }) => new Option(text, value)));
    }
    this.#select.value = this.#wish.chosen ?? "";
    // The chosen layer is not published any more.
    if (this.#select.selectedIndex < 0) this.#select.selectedIndex = 0;
  }
}

/** Returns the entries of the menu; `null` where there is nothing to choose. */
export function sizeChoices(
  layers: LayerStatus[],
  sent: SentReport | null,
  chosen: string | null,
): { value: string; text: string }[] | null {
  const named = layers.filter(({ rid, height }) => rid && height);
  if (named.length < 2) return null;
  const active = named.find(({ rid }) => rid === sent?.layer);
  return [
    { value: "", text: active && chosen === null ? `Auto · ${active.height}p` : "Auto" },
    ...named.map(({ rid, height }) => ({ value: rid ?? "", text: `${height}p` })),
  ];
}
