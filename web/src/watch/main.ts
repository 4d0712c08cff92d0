/** The watch page: connects, shows the picture, says in words what is going on, and how good it is. */

import { Access } from "../client/Access";
import { streamPath, type StreamStatus } from "../client/Api";
import { LatencyMeter } from "../client/LatencyMeter";
import type { Problem } from "../client/Problem";
import { ServerClock } from "../client/ServerClock";
import { Stats, type StatsSample } from "../client/Stats";
import { StreamEvents } from "../client/StreamEvents";
import { root } from "../client/root";
import { STREAM_NAME_RULE, streamFromPath } from "../client/StreamName";
import { ViewerEvents } from "../client/ViewerEvents";
import { WhepClient } from "../client/WhepClient";
import { byId, copyText, pageLoaded, say } from "../ui/dom";
import * as format from "../ui/format";
import { ClockReader } from "./ClockReader";
import { Controls } from "./Controls";
import { QualityMenu } from "./QualityMenu";
import { QualityOverlay } from "./QualityOverlay";
import { Still } from "./Still";
import { watchState, type WatchState } from "./watchState";
import { pictureWords, warningWords, wordsFor } from "./words";

const access = Access.fromLocation(location);
const query = new URLSearchParams(location.search);
const stream = streamFromPath(location.pathname, root);
for (const link of document.querySelectorAll<HTMLAnchorElement>("[data-home]")) link.href = access.link("/");

const player = byId("player");
const video = byId<HTMLVideoElement>("video");

if (stream === null) {
  player.dataset["state"] = "refused";
  say(byId("title"), "There can be no such stream");
  say(byId("text"), `A name looks like this: ${STREAM_NAME_RULE}`);
  say(byId("name"), "Illegal name");
  byId("share").hidden = true;
} else {
  watch(stream);
}

function watch(stream: string): void {
  const delayMs = Math.min(4_000, Math.max(0, Number(query.get("delay")) || 0));
  const client = new WhepClient(streamPath("/whep", stream), access, { audio: query.get("audio") !== "0", delayMs });
  const clock = new ServerClock(access);
  const latency = new LatencyMeter(client, clock);
  const events = new StreamEvents(stream, access);
  const session = new ViewerEvents(client);
  const stats = new Stats();
  const reader = new ClockReader(video);
  const overlay = new QualityOverlay(byId("quality"), byId("facts"), byId<HTMLTemplateElement>("fact"));
  const still = new Still(byId<HTMLCanvasElement>("still"), video);
  const controls = new Controls(player, video, overlay);
  const menu = new QualityMenu(byId<HTMLSelectElement>("layer"), client);

  let state: WatchState = "connecting";
  let status: StreamStatus | null = null;
  let statusAt = 0;
  let eventsProblem: Problem | null = null;
  let frameAt = 0;
  let sample: StatsSample | null = null;
  let endedSession: string | null = null;
  let refusedCodec: string | null = null;
  let timeToFirstFrameMs: number | null = null;
  let postToFirstFrameMs: number | null = null;

  document.title = `${stream} · Nowcast`;
  say(byId("name"), stream);

  // What tests and curious people may look at. The first frame's time counts from the start of the navigation,
  // and from just before the POST.
  Object.defineProperty(window, "nowcast", {
    value: {
      get state() { return state; },
      get timeToFirstFrameMs() { return timeToFirstFrameMs; },
      get postToFirstFrameMs() { return postToFirstFrameMs; },
      get latencyMs() { return latency.latencyMs; },
      get stats() { return sample; },
      get status() { return status; },
      get report() { return latency.report; },
      readClock: () => reader.read(),
      glassToGlass: (frames: number) => reader.glassToGlass(frames),
    },
  });

  client.onchange = () => {
    if (client.state === "connected") latency.refresh();
    session.follow();
    if (client.state === "ended") endedSession = status?.publisher?.session ?? null;
    update();
  };
  latency.onlost = () => client.replaceLost();
  latency.isTold = () => session.isListening;

  session.onactive = () => latency.restart();
  session.onlayers = (layers) => {
    latency.tell(layers);
    update();
    showMenu();
  };

  events.onstatus = (next) => {
    status = next;
    statusAt = performance.now();
    if (next.state === "live") reviveFor(next);
    update();
  };
  events.onproblem = (problem) => {
    if (problem === eventsProblem) return;
    eventsProblem = problem;
    update();
  };

  /** A refusal or an end need not last: another codec, or another publisher, is another chance. */
  function reviveFor({ publisher, video }: StreamStatus): void {
    const afterEnd = client.state === "ended" && publisher !== null && publisher.session !== endedSession;
    const isUnsupported = client.state === "refused" && client.problem?.status === 406;
    refusedCodec = isUnsupported ? (client.problem?.codec ?? refusedCodec ?? video?.codec ?? null) : null;
    const afterCodec = isUnsupported && video !== null && video.codec !== refusedCodec;
    if (afterEnd || afterCodec) client.start();
  }

  const onframe: VideoFrameRequestCallback = (_now, metadata) => {
    video.requestVideoFrameCallback(onframe);
    frameAt = performance.now();
    if (timeToFirstFrameMs === null) {
      timeToFirstFrameMs = frameAt;
      postToFirstFrameMs = frameAt - (client.postedAt ?? 0);
      overlay.firstFrameMs = postToFirstFrameMs;
    }
    latency.handleFrame(metadata);
    if (state !== "live") update();
  };
  if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(onframe);
  else (video as HTMLVideoElement).addEventListener("timeupdate", () => ((frameAt = performance.now()), update()));

  function update(): void {
    const next = watchState({ connection: client.state, problem: client.problem, status, statusAt, frameAt, report: latency.report });
    if (next === "unsupported" && state === "live") frameAt = 0;
    state = next;
    player.dataset["state"] = state;
    player.classList.toggle("has-picture", frameAt > 0);
    player.classList.toggle("sound-only", state === "live" && status !== null && !status.video && frameAt === 0);
    const words = wordsFor(state, client.problem, status);
    say(byId("title"), words.title);
    say(byId("text"), words.text);
    byId("again").hidden = !words.canTryAgain;
    byId("badge").hidden = state !== "live";
    byId("seen").hidden = !["live", "paused", "waiting"].includes(state) || !status?.viewers;
    say(byId("viewers"), String(status?.viewers ?? 0));
    say(byId("about"), about());
  }

  function showMenu(): void {
    menu.update(status?.video?.layers ?? [], latency.report?.video ?? null);
  }

  function about(): string {
    if (state !== "live" && state !== "paused") return words(state);
    const warning = state === "live" ? warningWords(status) : "";
    const facts = [
      warning,
      status?.live_since_ms && state === "live" ? `live for ${format.duration(Date.now() - status.live_since_ms)}` : words(state),
      pictureWords(video.videoHeight || status?.video?.height || null, latency.report),
      status?.video ? format.codec(status.video.codec) : "",
    ];
    return facts.filter(Boolean).join(" · ");
  }

  function words(state: WatchState): string {
    return { connecting: "connecting", waiting: "not live yet", live: "live", paused: "paused", reconnecting: "reconnecting",
      unsupported: "cannot be shown here", unauthorised: "needs a token", refused: "not available", ended: "ended" }[state];
  }

  setInterval(() => {
    void (async () => {
      const peer = client.peer;
      sample = peer && client.state === "connected" ? await stats.sample(peer) : null;
      if (state === "live" && !document.hidden) still.keep();
      overlay.update(sample, latency.latencyMs, latency.report, latency.unknown);
      showMenu();
      menu.tell();
      say(byId("controls-delay"), latency.latencyMs === null ? "" : format.milliseconds(latency.latencyMs));
      update();
    })();
  }, 1_000);

  byId("again").addEventListener("click", () => client.start());
  byId("share").addEventListener("click", () => void share(stream));

  client.start();
  latency.start();
  events.start();
  void pageLoaded().then(() => {
    video.srcObject = client.stream;
    controls.play();
  });
  update();
}

async function share(stream: string): Promise<void> {
  const url = new URL(access.link(streamPath("/watch", stream)), location.href).href;
  const label = byId("share-label");
  // Phones have a sheet for this; elsewhere a link on the clipboard is what people expect.
  if (typeof navigator.share === "function" && matchMedia("(pointer: coarse)").matches) {
    return await navigator.share({ title: `${stream}, live`, url }).catch(() => {});
  }
  say(label, (await copyText(url)) ? "Link copied" : "Copy the address above");
  setTimeout(() => say(label, "Share"), 2_000);
}
