import type { MediumLayers } from "./Api";
import { thisBrowser, type Browser } from "./Browser";
import { Problem } from "./Problem";
import { SessionEvents, type SessionOwner } from "./SessionEvents";

/**
 * One tab listens to its session, beside the three that listen to streams: two connections are left
 * for requests.
 */
const LISTENERS = 1;

/**
 * Receives what changes for a viewer's session. Otherwise the session's report has to be polled.
 */
export class ViewerEvents extends SessionEvents {
  /** Called when the video that is sent, or that is published, has changed. */
  onlayers: (layers: MediumLayers) => void = () => {};
  /** Called when media of a publisher begins, or begins again. */
  onactive: () => void = () => {};
  /** Called when the session is over because its DTLS handshake failed: the last event. */
  onfailed: (problem: Problem) => void = () => {};

  constructor(client: SessionOwner, browser: Browser = thisBrowser) {
    const events = ["active", "layers", "failed"];
    super(client, { events, place: "nowcast-session", places: LISTENERS }, browser);
    this.onevent = ({ name, data }) => {
      if (name === "active") this.onactive();
      if (name === "failed") this.onfailed(Problem.fromFailedEvent(data));
      if (name !== "layers") return;
      const [layers] = Object.values(JSON.parse(data) as Record<string, MediumLayers>);
      if (layers) this.onlayers(layers);
    };
  }
}
