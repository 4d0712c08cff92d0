/**
 * Asks for the RTP header extensions that low delay is measured and asked for by, and that tell
 * layers apart, where the browser lets pages choose
 * (https://w3c.github.io/webrtc-extensions/#rtp-header-extension-control).
 */

const WANTED = new Set([
  "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
  "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
]);

/**
 * Which frame needs which: without it a receiver can make nothing of AV1 in several sizes. Senders
 * that have any say so by themselves.
 */
const WANTED_OF_RECEIVERS =
  "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

interface HeaderExtension {
  uri: string;
  direction: RTCRtpTransceiverDirection;
}

interface ChoosyTransceiver extends RTCRtpTransceiver {
  getHeaderExtensionsToNegotiate?(): HeaderExtension[];
  setHeaderExtensionsToNegotiate?(extensions: HeaderExtension[]): void;
}

/** Call before the offer is made. */
export function asksForExtensions(transceiver: RTCRtpTransceiver): void {
  const choosy = transceiver as ChoosyTransceiver;
  if (!choosy.getHeaderExtensionsToNegotiate || !choosy.setHeaderExtensionsToNegotiate) return;
  try {
    const extensions = choosy.getHeaderExtensionsToNegotiate();
    for (const extension of extensions) {
      const isOfReceivers =
        extension.uri === WANTED_OF_RECEIVERS && transceiver.direction === "recvonly";
      if (WANTED.has(extension.uri) || isOfReceivers) extension.direction = "sendrecv";
    }
    choosy.setHeaderExtensionsToNegotiate(extensions);
  } catch {
    // Then delay is measured from sender reports alone.
  }
}
