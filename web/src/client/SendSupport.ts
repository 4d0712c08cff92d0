/** Abilities of this browser's senders that `getCapabilities` does not list. */

/**
 * Codecs whose encoders put several layers into one stream unless each encoding is told `L1T1`
 * (webrtc-svc).
 */
const NEED_MODE = new Set(["VP9", "AV1"]);

/** The mode that makes an encoding of its own of each size; `null` where the codec needs none. */
export function modeOfSizes(codec: string | null): string | null {
  return NEED_MODE.has(codec ?? "") ? "L1T1" : null;
}

/**
 * Whether this browser sends `codec` in several sizes. `keepsMode` says whether its senders take a
 * `scalabilityMode`.
 *
 * Firefox drops the mode: its VP9 falls to a few pictures a second as soon as one of the sizes is
 * switched off.
 */
export function canSendSizes(
  codec: string | null,
  keepsMode: () => boolean = keepsScalabilityMode,
): boolean {
  return modeOfSizes(codec) === null || keepsMode();
}

let kept: boolean | undefined;

/**
 * Sets a mode and reads it back: a browser that does not know a member drops it.
 */
function keepsScalabilityMode(): boolean {
  if (kept !== undefined) return kept;
  const peer = new RTCPeerConnection();
  try {
    const sendEncodings = [{ scalabilityMode: "L1T1" } as RTCRtpEncodingParameters];
    const { sender } = peer.addTransceiver("video", { direction: "sendonly", sendEncodings });
    const [encoding] = sender.getParameters().encodings as (RTCRtpEncodingParameters & {
      scalabilityMode?: string;
    })[];
    return (kept = encoding?.scalabilityMode !== undefined);
  } catch {
    return (kept = false);
  } finally {
    peer.close();
  }
}
