/** The publish page: connects the document, the view model and the studio. */

import { Access } from "../client/Access";
import { streamPath } from "../client/Api";
import { canSendSizes } from "../client/SendSupport";
import { root } from "../client/root";
import { STREAM_NAME_RULE, streamFromPath } from "../client/StreamName";
import { byId, copyText, linkHome, say } from "../ui/dom";
import * as format from "../ui/format";
import { DeviceMenus } from "./DeviceMenus";
import { draw } from "./draw";
import { LevelBar } from "./LevelBar";
import { PublishModel } from "./PublishModel";
import { settingsFromQuery, type SourceKind } from "./settings";
import type { Source } from "./Source";
import { Studio } from "./Studio";

const access = Access.fromLocation(location);
const query = new URLSearchParams(location.search);
const stream = streamFromPath(location.pathname, root);

linkHome(access);
if (stream === null) {
  byId("studio").classList.add("illegal");
  say(byId("name"), "This is not a stream name");
  say(byId("state-text"), STREAM_NAME_RULE);
} else {
  publish(stream);
}

function publish(stream: string): void {
  const model = new PublishModel(stream, settingsFromQuery(query), canSendSizes);
  const studio = new Studio(model, stream, access);
  const devices = new DeviceMenus(byId("camera"), byId("microphone"));
  const level = new LevelBar(byId("level-row"), byId("level"));
  studio.onchange = () => draw(model.view());
  studio.onsource = (source) => {
    preview(source);
    level.measure(source?.audio ?? null);
    if (source?.kind === "camera") void devices.update(source);
  };

  say(byId("name"), stream);
  fillChoices(model);
  listenToTabs(studio);
  listenToSettings(studio, model);
  byId("open").addEventListener("click", () => void studio.openSource());
  byId("go").addEventListener("click", () => (model.isOn ? studio.stop() : void studio.goLive()));
  navigator.mediaDevices?.addEventListener("devicechange", () => {
    if (studio.source?.kind === "camera") void devices.update(studio.source);
  });
  // Browsers hold sound back until the page is touched.
  document.addEventListener("pointerdown", () => studio.source?.resume());
  showLink(stream);
  expose(model, studio);

  draw(model.view());
  void devices.update(null);
  studio.start();
  const { source } = model.settings;
  if (query.get("autostart") === "1") void studio.goLive();
  else if (source !== "screen") void studio.chooseSource(source);
}

function preview(source: Source | null): void {
  const video = byId<HTMLVideoElement>("preview");
  video.srcObject = source?.stream ?? null;
  if (source) void video.play().catch(() => {});
}

/** Selects in the form what the address asks for. */
function fillChoices(model: PublishModel): void {
  const { settings } = model;
  const codecs = byId<HTMLSelectElement>("codec");
  for (const codec of offeredCodecs()) codecs.append(new Option(format.codec(codec), codec));
  codecs.value = settings.codec ?? "";
  // A select without such an option has no selection at all.
  if (codecs.selectedIndex < 0) {
    model.refuseCodec();
    codecs.value = "";
  }
  byId<HTMLSelectElement>("height").value = String(settings.height);
  byId<HTMLSelectElement>("rate").value = String(settings.frameRate);
}

function listenToTabs(studio: Studio): void {
  const tabs = [...document.querySelectorAll<HTMLButtonElement>(".tab")];
  tabs.forEach((tab, index) => {
    tab.addEventListener(
      "click",
      () => void studio.chooseSource(tab.dataset["source"] as SourceKind),
    );
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (step === undefined) return;
      const next = tabs[(index + step + tabs.length) % tabs.length];
      next?.focus();
      next?.click();
    });
  });
}

function listenToSettings(studio: Studio, model: PublishModel): void {
  const { settings } = model;
  const onchange = (id: string, handle: (value: string, isChecked: boolean) => void): void => {
    const element = byId<HTMLSelectElement | HTMLInputElement>(id);
    element.addEventListener("change", () => {
      handle(element.value, element instanceof HTMLInputElement && element.checked);
      draw(model.view());
    });
  };
  const change = (...args: Parameters<PublishModel["changeSource"]>): void =>
    void studio.follow(model.changeSource(...args));
  onchange("height", (value) => change({ height: Number(value) }));
  onchange("rate", (value) => change({ frameRate: Number(value) }));
  onchange("camera", (value) => change({ camera: value || null }));
  onchange("microphone", (value) => change({ microphone: value || null }));
  onchange("sound", (_, sound) => change({ sound }));
  onchange("codec", (value) => (settings.codec = value || null));
  onchange("simulcast", (_, isChecked) => (settings.simulcast = isChecked));
}

/** The address that viewers open. */
function showLink(stream: string): void {
  const url = new URL(access.link(streamPath("/watch", stream)), location.href).href;
  const link = byId<HTMLInputElement>("link");
  link.value = url;
  link.addEventListener("focus", () => link.select());
  if (access.token !== null) {
    say(byId("link-label"), "This link contains your token: it allows others what it allows you");
  }
  byId<HTMLAnchorElement>("visit").href = url;
  const icon = document.getElementById("copy-icon");
  byId("copy").addEventListener("click", () => {
    void copyText(url).then((copied) => {
      icon?.setAttribute("href", copied ? "#i-check" : "#i-copy");
      setTimeout(() => icon?.setAttribute("href", "#i-copy"), 1_500);
    });
  });
}

/** Readings for tests and for the console: `window.nowcast`. */
function expose(model: PublishModel, studio: Studio): void {
  Object.defineProperty(window, "nowcast", {
    value: {
      get state() {
        return studio.state;
      },
      get problem() {
        return studio.problem;
      },
      get stats() {
        return model.sample;
      },
      get status() {
        return model.status;
      },
      get sending() {
        return studio.sending;
      },
      get isHeard() {
        return studio.isHeard;
      },
    },
  });
}

/** The codecs that this browser can send, best known first. */
function offeredCodecs(): string[] {
  const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const supported = new Set(
    codecs.map(({ mimeType }) => mimeType.replace(/^video\//i, "").toUpperCase()),
  );
  return ["H264", "VP8", "VP9", "AV1", "H265"].filter((codec) => supported.has(codec));
}
