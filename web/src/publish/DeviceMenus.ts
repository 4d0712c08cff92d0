import type { Source } from "./Source";

/** The lists of cameras and microphones. */
export class DeviceMenus {
  readonly #camera: HTMLSelectElement;
  readonly #microphone: HTMLSelectElement;

  constructor(camera: HTMLSelectElement, microphone: HTMLSelectElement) {
    this.#camera = camera;
    this.#microphone = microphone;
  }

  /** Lists the devices that there are, with those of `source` selected. */
  async update(source: Source | null): Promise<void> {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const of = (kind: MediaDeviceKind): MediaDeviceInfo[] =>
      devices.filter((device) => device.kind === kind);
    fill(this.#camera, of("videoinput"), "Camera", source?.video);
    fill(this.#microphone, of("audioinput"), "Microphone", source?.audio);
  }
}

/** Browsers give devices a label only after a permission. */
function fill(
  select: HTMLSelectElement,
  devices: MediaDeviceInfo[],
  word: string,
  track: MediaStreamTrack | null | undefined,
): void {
  const current = track?.getSettings().deviceId ?? "";
  const options = devices.map(({ deviceId, label }, index) => {
    const text = label || `${word} ${index + 1}`;
    return new Option(text, deviceId, false, deviceId === current);
  });
  select.disabled = options.length === 0;
  if (options.length === 0) options.push(new Option("Listed after permission", ""));
  select.replaceChildren(...options);
}
