import type { MediumLayers } from "./Api";
import { SessionEvents } from "./SessionEvents";
import type { WhepClient } from "./WhepClient";

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

  constructor(client: WhepClient) {
    super(client, { events: ["active", "layers"], place: "nowcast-session", places: LISTENERS });
    this.onevent = ({ name, data }) => {
      if (name === "active") this.onactive();
      if (name !== "layers") return;
      const [layers] = Object.values(JSON.parse(data) as Record<string, MediumLayers>);
      if (layers) this.onlayers(layers);
    };
  }
}
