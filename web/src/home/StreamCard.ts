import type { Access } from "../client/Access";
import { streamPath, type StreamStatus } from "../client/Api";
import { WhepClient } from "../client/WhepClient";
import { byId, inside, pageLoaded, say } from "../ui/dom";
import * as format from "../ui/format";

/** One live stream on the home page, with a silent preview while it may play. */
export class StreamCard {
  readonly element: HTMLElement;
  isVisible = false;

  readonly #stream: string;
  readonly #access: Access;
  readonly #video: HTMLVideoElement;
  #client: WhepClient | null = null;

  constructor(stream: string, access: Access) {
    this.#stream = stream;
    this.#access = access;
    const copy = byId<HTMLTemplateElement>("card").content.cloneNode(true) as DocumentFragment;
    this.element = inside(copy, ".card");
    this.#video = inside<HTMLVideoElement>(this.element, "video");
    this.#video.muted = true;
    this.#video.addEventListener("playing", () => this.element.classList.add("playing"));
    inside<HTMLAnchorElement>(this.element, "a").href = access.link(streamPath("/watch", stream));
    say(inside(this.element, ".card-name"), stream);
  }

  update({ viewers, video, audio, live_since_ms }: StreamStatus): void {
    say(inside(this.element, ".card-viewers"), String(viewers));
    const facts = [
      video?.height ? `${video.height}p${Math.round(video.frame_rate) || ""}` : video ? "" : audio ? "sound only" : "",
      format.codec(video?.codec ?? audio?.codec),
      live_since_ms === null ? "" : format.duration(Date.now() - live_since_ms),
    ];
    say(inside(this.element, ".card-facts"), facts.filter(Boolean).join(" · "));
    inside(this.element, "a").setAttribute("aria-label", `Watch ${this.#stream}, live, ${format.viewers(viewers)}`);
  }

  /** Starts or stops the preview. */
  play(playing: boolean): void {
    if (playing === (this.#client !== null)) return;
    if (!playing) {
      this.#client?.stop();
      this.#client = null;
      this.element.classList.remove("playing");
      this.#video.srcObject = null;
      return;
    }
    const client = new WhepClient(streamPath("/whep", this.#stream), this.#access, { audio: false, delayMs: 0 });
    this.#client = client;
    client.start();
    void pageLoaded().then(() => {
      if (this.#client !== client) return;
      this.#video.srcObject = client.stream;
      this.#video.play().catch(() => {
        // A preview that may not play stays a dark tile.
      });
    });
  }

  remove(): void {
    this.play(false);
    this.element.remove();
  }
}
