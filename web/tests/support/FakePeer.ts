import { settled } from "./FakeBrowser";

/** A peer connection that does as a test says. */
export class FakePeer {
  connectionState: RTCPeerConnectionState = "new";
  localDescription: RTCSessionDescriptionInit | null = null;
  remoteDescription: RTCSessionDescriptionInit | null = null;
  onconnectionstatechange: (() => void) | null = null;
  onicecandidate: ((event: { candidate: RTCIceCandidate | null }) => void) | null = null;
  ontrack: ((event: RTCTrackEvent) => void) | null = null;
  isClosed = false;
  /** Local descriptions that were set, by type. */
  readonly set: string[] = [];
  readonly transport = Object.assign(new EventTarget(), { state: "new" });
  #offers = 0;

  get currentRemoteDescription(): RTCSessionDescriptionInit | null {
    return this.remoteDescription;
  }

  async createOffer(options?: RTCOfferOptions): Promise<RTCSessionDescriptionInit> {
    const credentials = `a=ice-ufrag:${options?.iceRestart ? "restart" : "first"}${++this.#offers}`;
    const candidate = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host";
    const sdp = [
      "v=0",
      "m=video 9 UDP/TLS/RTP/SAVPF 96",
      credentials,
      "a=ice-pwd:secret",
      candidate,
      "",
    ].join("\r\n");
    return { type: "offer", sdp };
  }

  async setLocalDescription(description: RTCSessionDescriptionInit): Promise<void> {
    this.set.push(description.type);
    if (description.type !== "rollback") this.localDescription = description;
  }

  async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    if (!/^a=ice-ufrag:/m.test(description.sdp ?? ""))
      throw new TypeError("the description has no ICE credentials");
    this.remoteDescription = description;
  }

  getConfiguration(): RTCConfiguration {
    return {};
  }

  setConfiguration(): void {}

  getTransceivers(): object[] {
    return [{ receiver: { transport: this.transport }, sender: { transport: this.transport } }];
  }

  close(): void {
    this.isClosed = true;
  }

  /** Changes state as the browser would. */
  async becomes(state: RTCPeerConnectionState): Promise<void> {
    this.connectionState = state;
    this.onconnectionstatechange?.();
    await settled();
  }

  /** The server closes DTLS. */
  async isToldGoodbye(): Promise<void> {
    this.transport.state = "closed";
    this.transport.dispatchEvent(new Event("statechange"));
    await settled();
  }
}
