import type { Access } from "../client/Access";
import { streamPath } from "../client/Api";
import type { Sending } from "../client/Encodings";
import type { Problem } from "../client/Problem";
import { PublisherEvents } from "../client/PublisherEvents";
import { Stats } from "../client/Stats";
import { StreamEvents } from "../client/StreamEvents";
import { WhipClient } from "../client/WhipClient";
import type { PublishModel, SourceStep } from "./PublishModel";
import { sendOptions, type SourceKind } from "./settings";
import { Source } from "./Source";

/**
 * Holds the source and the connection of a publisher, and does with them what the model decides.
 */
export class Studio {
  /** Called after the model changed. */
  onchange: () => void = () => {};
  /** Called with another source, or with `null` when there is none any more. */
  onsource: (source: Source | null) => void = () => {};

  readonly #model: PublishModel;
  readonly #stream: string;
  readonly #access: Access;
  readonly #events: StreamEvents;
  readonly #stats = new Stats();
  #source: Source | null = null;
  #client: WhipClient | null = null;
  #session: PublisherEvents | null = null;
  #isHeard = false;

  constructor(model: PublishModel, stream: string, access: Access) {
    this.#model = model;
    this.#stream = stream;
    this.#access = access;
    this.#events = new StreamEvents(stream, access);
    this.#events.onstatus = (status) => {
      model.handleStatus(status);
      const client = this.#client;
      if (client?.state === "connected" && !this.#isHeard) {
        client.audienceWants(status.publisher?.wanted_layers ?? []);
      }
      // The browser takes seconds to notice that a server has been restarted.
      if (status.state !== "live") void client?.verify();
      this.onchange();
    };
  }

  get source(): Source | null {
    return this.#source;
  }

  get problem(): Problem | null {
    return this.#client?.problem ?? null;
  }

  get state(): string {
    return this.#client?.state ?? "idle";
  }

  get sending(): Sending[] {
    return this.#client?.sending ?? [];
  }

  /** Whether events of the session arrive, which replace those of the stream. */
  get isHeard(): boolean {
    return this.#isHeard;
  }

  /** Follows the stream, and measures once a second. */
  start(): void {
    this.#events.start();
    setInterval(() => void this.#measure(), 1_000);
  }

  /** Opens the source that the settings name. Returns whether it is open. */
  async openSource(): Promise<boolean> {
    const opening = this.#model.beginOpening();
    this.onchange();
    try {
      const opened = await Source.open(this.#model.settings, this.#stream);
      if (!this.#model.handleOpened(opening, opened.kind)) {
        opened.stop();
        return false;
      }
      this.#use(opened);
      return true;
    } catch (thrown) {
      if (this.#model.handleOpenFailed(opening, thrown)) this.#close();
      return false;
    } finally {
      this.onchange();
    }
  }

  async chooseSource(kind: SourceKind): Promise<void> {
    // A browser lets a page ask for a screen within the click only, so nothing is awaited before
    // that.
    const isAllowed = kind === "camera" && !this.#model.isOn ? await cameraIsAllowed() : false;
    await this.follow(this.#model.chooseSource(kind, isAllowed));
  }

  /** Does with the source what the model decided. */
  async follow(step: SourceStep): Promise<void> {
    if (step === "close") this.#close();
    this.onchange();
    if (step === "open") await this.openSource();
  }

  async goLive(): Promise<void> {
    this.#model.handleGo();
    if (!this.#source && !(await this.openSource())) return;
    const source = this.#source;
    if (!source) return;
    source.resume();
    this.#client?.stop();
    const endpoint = streamPath("/whip", this.#stream);
    const client = new WhipClient(
      endpoint,
      this.#access,
      source,
      sendOptions(this.#model.settings),
    );
    const session = new PublisherEvents(client);
    this.#client = client;
    this.#session = session;
    client.onchange = () => {
      this.#model.handleConnection(client.state, client.problem);
      session.follow();
      this.#hear();
      this.onchange();
    };
    session.onfailed = (problem) => client.replaceFailed(problem);
    session.onwanted = (wanted) => client.audienceWants(wanted);
    session.onviewers = (viewers) => {
      this.#model.handleViewers(viewers);
      this.#hear();
      this.onchange();
    };
    // The browser takes seconds to notice that a server has been restarted.
    session.onlost = () => void client.verify();
    client.start();
  }

  stop(): void {
    this.#client?.stop();
    this.#client = null;
    this.#session = null;
    this.#hear();
    this.onchange();
  }

  #use(opened: Source): void {
    const old = this.#source;
    this.#source = opened;
    opened.onended = () => {
      this.stop();
      this.#close();
      this.#model.handleSourceEnded();
      this.onchange();
    };
    this.onsource(opened);
    const stopOld = (): void => old?.stop();
    if (!this.#client || !this.#model.isOn) return stopOld();
    // The old tracks are sent until the new ones are.
    this.#client.replaceTracks(opened, sendOptions(this.#model.settings)).then(stopOld, stopOld);
  }

  #close(): void {
    this.#model.handleClosed();
    this.#source?.stop();
    this.#source = null;
    this.onsource(null);
  }

  /**
   * Listens either to the session or to the stream: each takes a connection, and both report the
   * same.
   */
  #hear(): void {
    const wasHeard = this.#isHeard;
    this.#isHeard = this.#session?.isListening ?? false;
    if (this.#isHeard && !wasHeard) this.#events.stop();
    if (!this.#isHeard && wasHeard) this.#events.start();
  }

  async #measure(): Promise<void> {
    const client = this.#client;
    const peer = client?.state === "connected" ? client.peer : null;
    const sample = peer ? await this.#stats.sample(peer) : null;
    if (client === this.#client) this.#model.handleSample(sample, this.sending);
    this.#hear();
    this.onchange();
  }
}

async function cameraIsAllowed(): Promise<boolean> {
  try {
    return (
      (await navigator.permissions.query({ name: "camera" as PermissionName })).state === "granted"
    );
  } catch {
    return false;
  }
}
