/** The publish page: choose what to show, see it, go live, and see how it goes. */

import { Access } from "../client/Access";
import { streamPath, type StreamStatus } from "../client/Api";
import { LevelMeter } from "../client/LevelMeter";
import type { ConnectionState } from "../client/LiveConnection";
import { PublisherEvents } from "../client/PublisherEvents";
import { canSendSizes } from "../client/SendSupport";
import { Stats, type StatsSample } from "../client/Stats";
import { StreamEvents } from "../client/StreamEvents";
import { root } from "../client/root";
import { STREAM_NAME_RULE, streamFromPath } from "../client/StreamName";
import { WhipClient } from "../client/WhipClient";
import { byId, copyText, inside, say } from "../ui/dom";
import * as format from "../ui/format";
import { sendOptions, settingsFromQuery, type SourceKind } from "./settings";
import { Source } from "./Source";
import { attemptTrouble, mediaTrouble, sendingWords, sizesWords, stateWords, streamTrouble, type Trouble } from "./words";

const access = Access.fromLocation(location);
const query = new URLSearchParams(location.search);
const stream = streamFromPath(location.pathname, root);
for (const link of document.querySelectorAll<HTMLAnchorElement>("[data-home]")) link.href = access.link("/");

if (stream === null) {
  byId("studio").classList.add("illegal");
  say(byId("name"), "A stream cannot be called that");
  say(byId("state-text"), STREAM_NAME_RULE);
} else {
  publish(stream);
}

function publish(stream: string): void {
  const settings = settingsFromQuery(query);
  const studio = byId("studio");
  const preview = byId<HTMLVideoElement>("preview");
  const tabs = [...document.querySelectorAll<HTMLButtonElement>(".tab")];
  const selects = {
    camera: byId<HTMLSelectElement>("camera"),
    microphone: byId<HTMLSelectElement>("microphone"),
    height: byId<HTMLSelectElement>("height"),
    rate: byId<HTMLSelectElement>("rate"),
    codec: byId<HTMLSelectElement>("codec"),
  };
  const stats = new Stats();
  const events = new StreamEvents(stream, access);

  let source: Source | null = null;
  let meter: LevelMeter | null = null;
  let client: WhipClient | null = null;
  let session: PublisherEvents | null = null;
  /** Whether our session tells what the stream's events would. */
  let isHeard = false;
  let status: StreamStatus | null = null;
  let sample: StatsSample | null = null;
  let trouble: Trouble | null = null;
  /** Counts openings of a source; a slow one that comes back late is let go. */
  let opening = 0;
  let isOpening = false;

  const state = (): ConnectionState => client?.state ?? "idle";
  const isOn = (): boolean => ["connecting", "connected", "reconnecting"].includes(state());

  Object.defineProperty(window, "nowcast", {
    value: {
      get state() { return state(); },
      get problem() { return client?.problem ?? null; },
      get stats() { return sample; },
      get status() { return status; },
      get sending() { return client?.sending ?? []; },
      get isHeard() { return isHeard; },
    },
  });

  // ---- what to show

  async function openSource(): Promise<boolean> {
    const mine = ++opening;
    isOpening = true;
    show();
    try {
      const opened = await Source.open(settings, stream);
      if (mine !== opening) {
        opened.stop();
        return false;
      }
      useSource(opened);
      trouble = null;
      if (settings.source === "camera") await listDevices();
      return true;
    } catch (thrown) {
      if (mine !== opening) return false;
      // The camera stays on the air when the screen was not chosen after all.
      if (source && source.kind !== settings.source && isOn()) selectTab(source.kind);
      else closeSource();
      trouble = mediaTrouble(thrown, settings.source);
      return false;
    } finally {
      if (mine === opening) isOpening = false;
      show();
    }
  }

  function useSource(opened: Source): void {
    const old = source;
    source = opened;
    source.onended = () => {
      stop();
      closeSource();
      trouble = { title: "The picture ended", text: "The device or the shared screen is gone. Choose again to go on." };
      show();
    };
    preview.srcObject = opened.stream;
    void preview.play().catch(() => {});
    meter?.close();
    meter = opened.audio ? new LevelMeter(opened.audio) : null;
    if (client && isOn()) void client.replaceTracks(opened, sendOptions(settings)).then(() => old?.stop());
    else old?.stop();
  }

  function closeSource(): void {
    opening += 1;
    isOpening = false;
    source?.stop();
    source = null;
    meter?.close();
    meter = null;
    preview.srcObject = null;
  }

  /** Something about the source has changed: open it anew, if one is open at all. */
  function reopenSource(): void {
    if (source || isOpening) void openSource();
  }

  async function listDevices(): Promise<void> {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    fill(selects.camera, devices.filter(({ kind }) => kind === "videoinput"), "Camera", source?.video);
    fill(selects.microphone, devices.filter(({ kind }) => kind === "audioinput"), "Microphone", source?.audio);
  }

  function fill(select: HTMLSelectElement, devices: MediaDeviceInfo[], word: string, track?: MediaStreamTrack | null): void {
    const current = track?.getSettings().deviceId ?? "";
    const options = devices.map(({ deviceId, label }, i) => new Option(label || `${word} ${i + 1}`, deviceId, false, deviceId === current));
    select.replaceChildren(...(options.length > 0 ? options : [new Option(`${word}: after permission`, "")]));
    select.disabled = options.length === 0;
  }

  function selectTab(kind: SourceKind): void {
    settings.source = kind;
    for (const tab of tabs) {
      const selected = tab.dataset["source"] === kind;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
    }
    studio.dataset["source"] = kind;
    show();
  }

  async function chooseTab(kind: SourceKind): Promise<void> {
    if (kind === settings.source && source) return;
    trouble = null;
    selectTab(kind);
    if (isOn()) return void (await openSource());
    closeSource();
    // The test picture asks for nothing, and a camera that has been allowed before does not ask again.
    if (kind === "test" || (kind === "camera" && (await cameraIsAllowed()))) await openSource();
    show();
  }

  // ---- on the air

  async function goLive(): Promise<void> {
    trouble = null;
    if (!source && !(await openSource())) return;
    if (!source) return;
    source.resume();
    const mine = new WhipClient(streamPath("/whip", stream), access, source, sendOptions(settings));
    client = mine;
    const events = (session = new PublisherEvents(mine));
    mine.onchange = () => {
      trouble = mine.problem ? streamTrouble(mine.problem, stream) : null;
      events.follow();
      hear();
      show();
    };
    events.onwanted = (wanted) => mine.audienceWants(wanted);
    events.onviewers = (viewers) => {
      if (status) status = { ...status, viewers };
      say(byId("viewers"), String(viewers));
      hear();
    };
    // The browser takes seconds to notice that a server is gone and back.
    events.onlost = () => void mine.verify();
    mine.start();
    show();
  }

  function stop(): void {
    client?.stop();
    client = null;
    session = null;
    sample = null;
    hear();
    show();
  }

  /** Either our session tells how it is, or the stream. */
  function hear(): void {
    const wasHeard = isHeard;
    isHeard = session?.isListening ?? false;
    if (isHeard && !wasHeard) events.stop();
    if (!isHeard && wasHeard) events.start();
  }

  // ---- what the page says

  function show(): void {
    const now = state();
    studio.dataset["state"] = now;
    say(byId("state-text"), isOpening && !isOn() ? "Opening…" : source && now === "idle" ? "Ready" : stateWords(now, trouble !== null));
    const go = byId<HTMLButtonElement>("go");
    go.classList.toggle("primary", !isOn());
    go.classList.toggle("stop", isOn());
    say(go, isOn() ? "Stop" : now === "refused" || now === "ended" ? "Try again" : "Go live");
    go.disabled = isOpening && !isOn();
    selects.codec.disabled = isOn();
    byId<HTMLInputElement>("sound").disabled = isOn();
    const sizes = byId<HTMLInputElement>("simulcast");
    const hasSizes = canSendSizes(settings.codec);
    sizes.disabled = isOn() || !hasSizes;
    sizes.checked = settings.simulcast && hasSizes;
    say(byId("simulcast-label"), sizesWords(settings.codec, hasSizes));

    byId("screen-empty").hidden = source !== null;
    byId("screen").classList.toggle("mirrored", source?.kind === "camera");
    document.getElementById("empty-icon")?.setAttribute("href", `#i-${settings.source}`);
    say(byId("empty-text"), {
      camera: "Your camera is off.",
      screen: "No screen is shared yet.",
      test: "A moving picture with a clock.",
    }[settings.source]);
    say(byId("open"), { camera: "Turn the camera on", screen: "Choose a screen", test: "Show it" }[settings.source]);
    byId<HTMLButtonElement>("open").disabled = isOpening;
    byId("camera-field").hidden = settings.source !== "camera";
    byId("microphone-field").hidden = settings.source !== "camera" || !settings.sound;
    byId("level-row").hidden = meter === null;
    document.getElementById("level-icon")?.setAttribute("href", settings.source === "camera" ? "#i-mic" : "#i-sound");

    byId("badge").hidden = now !== "connected";
    byId("seen").hidden = now !== "connected";
    say(byId("viewers"), String(status?.viewers ?? 0));
    const shown = trouble ?? (now === "idle" ? attemptTrouble(status) : null);
    byId("problem").hidden = shown === null;
    say(byId("problem-title"), shown?.title ?? "");
    say(byId("problem-text"), shown?.text ?? "");

    byId("strip").hidden = !isOn() || (now !== "connected" && trouble !== null);
    say(byId("s-bitrate"), format.bitrate(sample?.bitrate));
    say(byId("s-frames"), format.frameRate(sample?.frameRate));
    say(byId("s-size"), format.size(sample?.width, sample?.height));
    say(byId("s-codec"), format.codec(sample?.codec));
    say(byId("s-rtt"), format.milliseconds(sample?.rttMs));
    say(byId("s-loss"), format.percent(sample?.lossPercent));
    const warning = status?.warnings[0]?.detail ?? null;
    const sent = sendingWords(sample?.limitation ?? null, settings, client?.sending ?? []);
    const aside = now === "connected" ? (warning ?? sent) : null;
    byId("limitation").hidden = aside === null;
    say(byId("limitation"), aside ?? "");
    document.title = `${now === "connected" ? "● " : ""}${stream} · Nowcast`;
  }

  setInterval(() => {
    void (async () => {
      sample = client?.peer && client.state === "connected" ? await stats.sample(client.peer) : null;
      hear();
      show();
    })();
  }, 1_000);

  const bar = byId("level");
  let shownLevel = 0;
  function showLevel(): void {
    requestAnimationFrame(showLevel);
    if (!meter) return;
    // Up at once, down slowly: what eyes expect of a meter.
    shownLevel = Math.max(meter.level, shownLevel * 0.93);
    inside(bar, "i").style.setProperty("--level", shownLevel.toFixed(3));
    bar.setAttribute("aria-valuenow", String(Math.round(shownLevel * 100)));
  }
  requestAnimationFrame(showLevel);

  // ---- what the user does

  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => void chooseTab(tab.dataset["source"] as SourceKind));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (step === undefined) return;
      const next = tabs[(index + step + tabs.length) % tabs.length];
      next?.focus();
      next?.click();
    });
  });
  byId("open").addEventListener("click", () => void openSource());
  byId("go").addEventListener("click", () => (isOn() ? stop() : void goLive()));
  selects.height.addEventListener("change", () => ((settings.height = Number(selects.height.value)), reopenSource()));
  selects.rate.addEventListener("change", () => ((settings.frameRate = Number(selects.rate.value)), reopenSource()));
  selects.codec.addEventListener("change", () => {
    settings.codec = selects.codec.value || null;
    show();
  });
  selects.camera.addEventListener("change", () => ((settings.camera = selects.camera.value || null), reopenSource()));
  selects.microphone.addEventListener("change", () => ((settings.microphone = selects.microphone.value || null), reopenSource()));
  byId<HTMLInputElement>("simulcast").addEventListener("change", ({ target }) => {
    settings.simulcast = (target as HTMLInputElement).checked;
  });
  byId<HTMLInputElement>("sound").addEventListener("change", ({ target }) => {
    settings.sound = (target as HTMLInputElement).checked;
    reopenSource();
    show();
  });
  navigator.mediaDevices?.addEventListener("devicechange", () => settings.source === "camera" && source && void listDevices());
  // Sound that waits for a touch.
  document.addEventListener("pointerdown", () => source?.resume());

  const url = new URL(access.link(streamPath("/watch", stream)), location.href).href;
  byId<HTMLInputElement>("link").value = url;
  if (access.token !== null) say(byId("link-label"), "This link carries your token: whoever has it may do what you may");
  byId<HTMLInputElement>("link").addEventListener("focus", ({ target }) => (target as HTMLInputElement).select());
  byId<HTMLAnchorElement>("visit").href = url;
  byId("copy").addEventListener("click", () => {
    void copyText(url).then((copied) => {
      document.getElementById("copy-icon")?.setAttribute("href", copied ? "#i-check" : "#i-copy");
      setTimeout(() => document.getElementById("copy-icon")?.setAttribute("href", "#i-copy"), 1_500);
    });
  });

  events.onstatus = (next) => {
    status = next;
    say(byId("viewers"), String(next.viewers));
    if (client?.state === "connected" && !isHeard) client.audienceWants(next.publisher?.wanted_layers ?? []);
    // The browser takes seconds to notice that a server is gone and back.
    if (next.state !== "live") void client?.verify();
  };

  // ---- and off we go

  say(byId("name"), stream);
  for (const codec of offeredCodecs()) selects.codec.append(new Option(format.codec(codec), codec));
  selects.codec.value = settings.codec ?? "";
  if (selects.codec.value === "" && settings.codec !== null) {
    trouble = { title: `This browser cannot send ${format.codec(settings.codec)}`, text: "It will choose a codec by itself." };
    settings.codec = null;
  }
  selects.height.value = String(settings.height);
  selects.rate.value = String(settings.frameRate);
  byId<HTMLInputElement>("sound").checked = settings.sound;
  selectTab(settings.source);
  void listDevices();
  events.start();
  if (query.get("autostart") === "1") void goLive();
  else if (settings.source !== "screen") void chooseTab(settings.source);
}

/** What this browser can send, best known first. */
function offeredCodecs(): string[] {
  const supported = new Set(
    (RTCRtpSender.getCapabilities?.("video")?.codecs ?? []).map(({ mimeType }) => mimeType.replace(/^video\//i, "").toUpperCase()),
  );
  return ["H264", "VP8", "VP9", "AV1", "H265"].filter((codec) => supported.has(codec));
}

async function cameraIsAllowed(): Promise<boolean> {
  try {
    return (await navigator.permissions.query({ name: "camera" as PermissionName })).state === "granted";
  } catch {
    return false;
  }
}
