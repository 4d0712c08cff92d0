import type { MediumLayers } from "./Api";
import { SessionEvents } from "./SessionEvents";
import type { WhepClient } from "./WhepClient";

/** One tab listens to its session, beside the three that listen to their streams: two connections are left for requests. */
const LISTENERS = 1;

/** Hears what changes for a viewer's session. Where that cannot be, there is the session's report. */
export class ViewerEvents extends SessionEvents {
  /** What is sent to us, or what there is, has changed. */
  onlayers: (layers: MediumLayers) => void = () => {};
  /** Somebody publishes: as before, or anew. */
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
