import { encodingsFor } from "../client/Encodings";
import { canSendSizes, modeOfSizes } from "../client/SendSupport";
import type { WhipOptions } from "../client/WhipClient";

export type SourceKind = "camera" | "screen" | "test";

/** The publisher's choices. */
export interface Settings {
  source: SourceKind;
  height: number;
  frameRate: number;
  codec: string | null;
  /** Bits per second, where the address asks for a certain one. */
  bitrate: number | null;
  sound: boolean;
  /** Several sizes at once, so that every viewer gets the best that its network carries. */
  simulcast: boolean;
  /**
   * Layers within one encoding instead (webrtc-svc: `L3T3_KEY`), where the address asks for them.
   */
  scalabilityMode: string | null;
  camera: string | null;
  microphone: string | null;
}

/** Enough for moving pictures at 30 frames a second in H.264 or VP8. Practice, not measurement. */
const BITRATE_AT_30 = new Map([
  [360, 800_000],
  [480, 1_300_000],
  [720, 2_500_000],
  [1080, 4_500_000],
]);

/** Returns the choices in the query of the address; defaults for all others. */
export function settingsFromQuery(query: URLSearchParams): Settings {
  const among = <T>(value: T, allowed: readonly T[], otherwise: T): T =>
    allowed.includes(value) ? value : otherwise;
  const bitrate = Number(query.get("bitrate"));
  const codec = query.get("codec");
  const mode = query.get("svc");
  return {
    source: among<string>(
      query.get("source") ?? "",
      ["camera", "screen", "test"],
      "camera",
    ) as SourceKind,
    height: among(Number.parseInt(query.get("res") ?? "", 10), [...BITRATE_AT_30.keys()], 720),
    frameRate: among(Number(query.get("fps")), [15, 30, 60], 30),
    codec: codec === null || codec === "auto" || codec === "" ? null : codec.toUpperCase(),
    bitrate: Number.isFinite(bitrate) && bitrate >= 30_000 ? bitrate : null,
    sound: query.get("audio") !== "0",
    simulcast: query.get("simulcast") !== "0",
    scalabilityMode: mode !== null && /^L[1-3]T[1-3](_KEY)?$/.test(mode) ? mode : null,
    camera: null,
    microphone: null,
  };
}

/**
 * Returns the options of the connection for the choices. `canSend` says whether this browser sends
 * a codec in several sizes.
 */
export function sendOptions(
  settings: Settings,
  canSend: (codec: string | null) => boolean = canSendSizes,
): WhipOptions {
  const at30 = BITRATE_AT_30.get(settings.height) ?? 2_500_000;
  const factor = settings.frameRate >= 60 ? 1.5 : settings.frameRate <= 15 ? 0.65 : 1;
  const encodings = encodingsFor(settings.height, settings.bitrate ?? Math.round(at30 * factor));
  const isSimulcast =
    settings.simulcast &&
    !settings.scalabilityMode &&
    encodings.length > 1 &&
    canSend(settings.codec);
  return {
    codec: settings.codec,
    encodings: isSimulcast ? encodings : encodings.slice(-1),
    scalabilityMode: isSimulcast ? modeOfSizes(settings.codec) : settings.scalabilityMode,
    maxFrameRate: settings.frameRate,
    // Text must stay readable; faces had better keep moving.
    degradation: settings.source === "camera" ? "balanced" : "maintain-resolution",
  };
}
