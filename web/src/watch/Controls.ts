import { byId } from "../ui/dom";
import type { QualityOverlay } from "./QualityOverlay";

/** Time without a move after which the controls are hidden, in ms. A guess. */
const IDLE_MS = 2_500;
const VOLUME_KEY = "nowcast-volume";

/** Full screen on iPhones, which have it for videos only. */
interface AppleVideo extends HTMLVideoElement {
  webkitEnterFullscreen?(): void;
}

/** Sound, full screen, picture in picture, quality: by button and by key. */
export class Controls {
  readonly #player: HTMLElement;
  readonly #video: AppleVideo;
  readonly #overlay: QualityOverlay;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(player: HTMLElement, video: HTMLVideoElement, overlay: QualityOverlay) {
    this.#player = player;
    this.#video = video;
    this.#overlay = overlay;

    byId("mute").addEventListener("click", () => this.toggleMute());
    byId("unmute").addEventListener("click", () => this.toggleMute(false));
    byId("info").addEventListener("click", () => this.toggleQuality());
    byId("full").addEventListener("click", () => this.toggleFullScreen());
    byId("pip").addEventListener("click", () => this.togglePictureInPicture());
    byId("pip").hidden = !document.pictureInPictureEnabled;
    video.addEventListener("dblclick", () => this.toggleFullScreen());
    document.addEventListener("keydown", (event) => this.#handleKey(event));

    const volume = byId<HTMLInputElement>("volume");
    volume.addEventListener("input", () => {
      video.volume = Number(volume.value) / 100;
      video.muted = video.volume === 0;
      if (!video.muted) byId("unmute").hidden = true;
    });
    video.addEventListener("volumechange", () => this.#showVolume());
    video.volume = rememberedVolume();
    this.#showVolume();

    for (const event of ["pointermove", "pointerdown", "keydown", "focusin"]) {
      player.addEventListener(event, () => this.#stir());
    }
    player.addEventListener("pointerleave", () => player.classList.add("idle"));
    this.#stir();
  }

  /** Plays with sound if the browser lets us, else silently, with a button that says so. */
  play(): void {
    this.#video.play().catch((reason: unknown) => {
      if (!(reason instanceof DOMException) || reason.name !== "NotAllowedError") return;
      this.#video.muted = true;
      byId("unmute").hidden = false;
      this.#video.play().catch(() => {
        // Not even silently: then the first touch starts it.
        document.addEventListener("pointerdown", () => void this.#video.play(), { once: true });
      });
    });
  }

  toggleMute(muted = !this.#video.muted): void {
    this.#video.muted = muted;
    if (!muted && this.#video.volume === 0) this.#video.volume = 0.5;
    byId("unmute").hidden = true;
    void this.#video.play().catch(() => {});
  }

  toggleQuality(): void {
    this.#overlay.toggle();
    byId("info").setAttribute("aria-expanded", String(this.#overlay.isOpen));
    this.#player.classList.toggle("with-quality", this.#overlay.isOpen);
  }

  toggleFullScreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (this.#player.requestFullscreen) void this.#player.requestFullscreen().catch(() => {});
    else this.#video.webkitEnterFullscreen?.();
  }

  togglePictureInPicture(): void {
    if (document.pictureInPictureElement) void document.exitPictureInPicture();
    else if (document.pictureInPictureEnabled)
      void this.#video.requestPictureInPicture().catch(() => {});
  }

  #handleKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = {
      i: () => this.toggleQuality(),
      f: () => this.toggleFullScreen(),
      m: () => this.toggleMute(),
      p: () => this.togglePictureInPicture(),
      escape: () => this.#overlay.isOpen && this.toggleQuality(),
    }[event.key.toLowerCase()];
    if (!action) return;
    this.#stir();
    action();
  }

  /**
   * Shows the controls, and hides them after a while unless one of them has the keyboard focus.
   */
  #stir(): void {
    this.#player.classList.remove("idle");
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      if (!byId("controls").querySelector(":focus-visible")) this.#player.classList.add("idle");
    }, IDLE_MS);
  }

  #showVolume(): void {
    const { muted, volume } = this.#video;
    const silent = muted || volume === 0;
    const input = byId<HTMLInputElement>("volume");
    input.value = String(silent ? 0 : Math.round(volume * 100));
    input.style.setProperty("--filled", `${input.value}%`);
    byId("mute").setAttribute("aria-label", silent ? "Unmute" : "Mute");
    byId("mute").title = silent ? "Unmute (m)" : "Mute (m)";
    document.getElementById("mute-icon")?.setAttribute("href", silent ? "#i-muted" : "#i-sound");
    try {
      if (!silent) localStorage.setItem(VOLUME_KEY, String(volume));
    } catch {
      // Storage is forbidden: the next page starts at full volume.
    }
  }
}

function rememberedVolume(): number {
  try {
    const volume = Number(localStorage.getItem(VOLUME_KEY) ?? "1");
    return volume > 0 && volume <= 1 ? volume : 1;
  } catch {
    return 1;
  }
}
