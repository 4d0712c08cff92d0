import type { WantedLayer } from "./Api";
import { SessionEvents } from "./SessionEvents";
import { EVENTS_PLACE, EVENTS_PLACES } from "./StreamEvents";
import type { WhipClient } from "./WhipClient";

/** Hears what a publisher's audience has use for. Where that cannot be, the stream's own events say so too. */
export class PublisherEvents extends SessionEvents {
  onwanted: (wanted: WantedLayer[]) => void = () => {};
  onviewers: (viewers: number) => void = () => {};

  constructor(client: WhipClient) {
    // In the place of the stream's events, which tell no more than this.
    super(client, { events: ["wantedlayers", "viewercount"], place: EVENTS_PLACE, places: EVENTS_PLACES });
    this.onevent = ({ name, data }) => {
      if (name === "wantedlayers") this.onwanted((JSON.parse(data) as { wanted_layers: WantedLayer[] }).wanted_layers);
      if (name === "viewercount") this.onviewers((JSON.parse(data) as { viewercount: number }).viewercount);
    };
  }
}
