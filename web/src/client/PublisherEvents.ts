import type { Wanted, WantedLayer } from "./Api";
import { SessionEvents } from "./SessionEvents";
import { EVENTS_PLACE, EVENTS_PLACES } from "./StreamEvents";
import type { WhipClient } from "./WhipClient";

/**
 * Receives what a publisher's viewers need of its encodings. Otherwise the stream's own events
 * report that too.
 */
export class PublisherEvents extends SessionEvents {
  onwanted: (wanted: WantedLayer[]) => void = () => {};
  onviewers: (viewers: number) => void = () => {};

  constructor(client: WhipClient) {
    // In the place of the stream's events, which report the same and are stopped meanwhile.
    super(client, {
      events: ["wantedlayers", "viewercount"],
      place: EVENTS_PLACE,
      places: EVENTS_PLACES,
    });
    this.onevent = ({ name, data }) => {
      if (name === "wantedlayers") this.onwanted((JSON.parse(data) as Wanted).wanted_layers);
      if (name === "viewercount")
        this.onviewers((JSON.parse(data) as { viewercount: number }).viewercount);
    };
  }
}
