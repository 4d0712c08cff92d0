/** The watch page: connects the document, the view model and the client. */

import { Access } from "../client/Access";
import { streamPath } from "../client/Api";
import { LatencyMeter } from "../client/LatencyMeter";
import { PictureWish } from "../client/PictureWish";
import { ServerClock } from "../client/ServerClock";
import { Stats, type StatsSample } from "../client/Stats";
import { StreamEvents } from "../client/StreamEvents";
import { root } from "../client/root";
import { STREAM_NAME_RULE, streamFromPath } from "../client/StreamName";
import { ViewerEvents } from "../client/ViewerEvents";
import { WhepClient } from "../client/WhepClient";
import { byId, copyText, linkHome, pageLoaded, say } from "../ui/dom";
import * as format from "../ui/format";
import { ClockReader } from "./ClockReader";
import { Controls } from "./Controls";
import { draw, drawIllegalName } from "./draw";
import { QualityMenu } from "./QualityMenu";
import { QualityOverlay } from "./QualityOverlay";
import { Still } from "./Still";
import { WatchModel } from "./WatchModel";

/**
 * The longest delay that `?delay=` may ask for. A guess: browsers allow 4 s (webrtc-extensions,
 * jitterBufferTarget).
 */
const LONGEST_DELAY_MS = 4_000;

const access = Access.fromLocation(location);
const query = new URLSearchParams(location.search);
const stream = streamFromPath(location.pathname, root);
const video = byId<HTMLVideoElement>("video");

linkHome(access);
if (stream === null) drawIllegalName(STREAM_NAME_RULE);
else watch(stream);

function watch(stream: string): void {
  const delayMs = Math.min(LONGEST_DELAY_MS, Math.max(0, Number(query.get("delay")) || 0));
  const options = { audio: query.get("audio") !== "0", delayMs };
  const client = new WhepClient(streamPath("/whep", stream), access, options);
  const latency = new LatencyMeter(client, new ServerClock(access));
  const events = new StreamEvents(stream, access);
  const session = new ViewerEvents(client);
  const model = new WatchModel();
  const wish = new PictureWish(client);
  const overlay = new QualityOverlay(
    byId("quality"),
    byId("facts"),
    byId<HTMLTemplateElement>("fact"),
  );
  const menu = new QualityMenu(byId<HTMLSelectElement>("layer"), wish);
  const still = new Still(byId<HTMLCanvasElement>("still"), video);
  const show = (): void => {
    model.handleReport(latency.report);
    draw(model.view(Date.now(), video.videoHeight));
  };
  const showMenu = (): void =>
    menu.update(model.status?.video?.layers ?? [], latency.report?.video ?? null);

  client.onchange = () => {
    if (client.state === "connected") latency.refresh();
    session.follow();
    model.handleConnection(client.state, client.problem);
    show();
  };
  latency.onlost = () => client.replaceLost();
  latency.isTold = () => session.isListening;
  session.onactive = () => latency.restart();
  session.onfailed = (problem) => client.replaceFailed(problem);
  session.onlayers = (layers) => {
    latency.tell(layers);
    show();
    showMenu();
  };
  events.onstatus = (status) => {
    if (model.handleStatus(status, performance.now())) client.start();
    show();
  };
  onEachFrame(video, (metadata) => {
    const { state, firstFrame } = model;
    model.handleFrame(performance.now(), client.postedAt);
    if (firstFrame === null) overlay.firstFrameMs = model.firstFrame?.sincePostMs ?? null;
    if (metadata) latency.handleFrame(metadata);
    if (state !== "live") show();
  });

  const sampled = everySecond(client, (sample) => {
    if (model.state === "live" && !document.hidden) still.keep();
    overlay.update(sample, latency.latencyMs, latency.report, latency.unknown);
    wish.tell();
    say(
      byId("controls-delay"),
      latency.latencyMs === null ? "" : format.milliseconds(latency.latencyMs),
    );
    showMenu();
    show();
  });
  const controls = new Controls(byId("player"), video, overlay);
  byId("again").addEventListener("click", () => client.start());
  byId("share").addEventListener("click", () => void share(stream));
  expose(model, latency, sampled);

  document.title = `${stream} · Nowcast`;
  say(byId("name"), stream);
  client.start();
  latency.start();
  events.start();
  void pageLoaded().then(() => {
    video.srcObject = client.stream;
    controls.play();
  });
  show();
}

/** Calls `onframe` for each frame on screen, without its metadata in browsers that have none. */
function onEachFrame(
  video: HTMLVideoElement,
  onframe: (metadata: VideoFrameCallbackMetadata | null) => void,
): void {
  if (!("requestVideoFrameCallback" in video)) {
    (video as HTMLVideoElement).addEventListener("timeupdate", () => onframe(null));
    return;
  }
  const callback: VideoFrameRequestCallback = (_now, metadata) => {
    video.requestVideoFrameCallback(callback);
    onframe(metadata);
  };
  video.requestVideoFrameCallback(callback);
}

/** Reads the statistics of the connection once a second. Returns what reads the last ones. */
function everySecond(
  client: WhepClient,
  then: (sample: StatsSample | null) => void,
): () => StatsSample | null {
  const stats = new Stats();
  let last: StatsSample | null = null;
  setInterval(() => {
    void (async () => {
      const { peer } = client;
      last = peer && client.state === "connected" ? await stats.sample(peer) : null;
      then(last);
    })();
  }, 1_000);
  return () => last;
}

/** Readings for tests and for the console: `window.nowcast`. */
function expose(model: WatchModel, latency: LatencyMeter, sampled: () => StatsSample | null): void {
  const reader = new ClockReader(video);
  Object.defineProperty(window, "nowcast", {
    value: {
      get state() {
        return model.state;
      },
      get timeToFirstFrameMs() {
        return model.firstFrame?.sinceNavigationMs ?? null;
      },
      get postToFirstFrameMs() {
        return model.firstFrame?.sincePostMs ?? null;
      },
      get latencyMs() {
        return latency.latencyMs;
      },
      get stats() {
        return sampled();
      },
      get status() {
        return model.status;
      },
      get report() {
        return latency.report;
      },
      readClock: () => reader.read(),
      glassToGlass: (frames: number) => reader.glassToGlass(frames),
    },
  });
}

async function share(stream: string): Promise<void> {
  const url = new URL(access.link(streamPath("/watch", stream)), location.href).href;
  const label = byId("share-label");
  // Phones have a share sheet; elsewhere people expect the link on the clipboard.
  if (typeof navigator.share === "function" && matchMedia("(pointer: coarse)").matches) {
    return await navigator.share({ title: `${stream}, live`, url }).catch(() => {});
  }
  say(label, (await copyText(url)) ? "Link copied" : "Copy the address above");
  setTimeout(() => say(label, "Share"), 2_000);
}
