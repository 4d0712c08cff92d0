import type { Wanted, WantedLayer } from "./Api";
import { thisBrowser, type Browser } from "./Browser";
import { Problem } from "./Problem";
import { SessionEvents, type SessionOwner } from "./SessionEvents";
import { EVENTS_PLACE, EVENTS_PLACES } from "./StreamEvents";

/**
 * Receives what a publisher's viewers need of its encodings. Otherwise the stream's own events
 * report that too.
 */
export class PublisherEvents extends SessionEvents {
  onwanted: (wanted: WantedLayer[]) => void = () => {};
  onviewers: (viewers: number) => void = () => {};
  /** Called when the session is over because its DTLS handshake failed: the last event. */
  onfailed: (problem: Problem) => void = () => {};

  constructor(client: SessionOwner, browser: Browser = thisBrowser) {
    // In the place of the stream's events, which report the same and are stopped meanwhile.
    const events = ["wantedlayers", "viewercount", "failed"];
    super(client, { events, place: EVENTS_PLACE, places: EVENTS_PLACES }, browser);
    this.onevent = ({ name, data }) => {
      if (name === "wantedlayers") this.onwanted((JSON.parse(data) as Wanted).wanted_layers);
      if (name === "viewercount")
        this.onviewers((JSON.parse(data) as { viewercount: number }).viewercount);
      if (name === "failed") this.onfailed(Problem.fromFailedEvent(data));
    };
  }
}
