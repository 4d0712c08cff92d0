import type { Access } from "../client/Access";
import { streamPath } from "../client/Api";
import { WhepClient } from "../client/WhepClient";
import { byId, inside, pageLoaded, say } from "../ui/dom";
import type { CardView } from "./card";

/** One live stream on the home page, with a silent preview while it may play. */
export class StreamCard {
  readonly element: HTMLElement;
  readonly stream: string;

  readonly #access: Access;
  readonly #video: HTMLVideoElement;
  #client: WhepClient | null = null;

  constructor(stream: string, access: Access) {
    this.stream = stream;
    this.#access = access;
    const copy = byId<HTMLTemplateElement>("card").content.cloneNode(true) as DocumentFragment;
    this.element = inside(copy, ".card");
    this.#video = inside<HTMLVideoElement>(this.element, "video");
    this.#video.muted = true;
    this.#video.addEventListener("playing", () => this.element.classList.add("playing"));
    inside<HTMLAnchorElement>(this.element, "a").href = access.link(streamPath("/watch", stream));
    say(inside(this.element, ".card-name"), stream);
  }

  draw({ viewers, facts, label, plays }: CardView): void {
    say(inside(this.element, ".card-viewers"), viewers);
    say(inside(this.element, ".card-facts"), facts);
    inside(this.element, "a").setAttribute("aria-label", label);
    if (plays && this.#client === null) this.#play();
    if (!plays) this.#stop();
  }

  remove(): void {
    this.#stop();
    this.element.remove();
  }

  #play(): void {
    const options = { audio: false, delayMs: 0 };
    const client = new WhepClient(streamPath("/whep", this.stream), this.#access, options);
    this.#client = client;
    client.start();
    void pageLoaded().then(() => {
      if (this.#client !== client) return;
      this.#video.srcObject = client.stream;
      this.#video.play().catch(() => {
        // A preview that the browser does not play stays a dark tile.
      });
    });
  }

  #stop(): void {
    if (this.#client === null) return;
    this.#client.stop();
    this.#client = null;
    this.element.classList.remove("playing");
    this.#video.srcObject = null;
  }
}
