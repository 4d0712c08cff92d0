import { byId, say } from "../ui/dom";
import type { PublishView } from "./PublishModel";

/** Brings the document in line with the view. */
export function draw(view: PublishView): void {
  byId("studio").dataset["state"] = view.connection;
  byId("studio").dataset["source"] = view.source;
  say(byId("state-text"), view.stateText);
  drawChoices(view);
  drawScreen(view);

  byId("problem").hidden = view.trouble === null;
  say(byId("problem-title"), view.trouble?.title ?? "");
  say(byId("problem-text"), view.trouble?.text ?? "");
  byId("strip").hidden = view.facts === null;
  for (const [name, value] of Object.entries(view.facts ?? {})) say(byId(`s-${name}`), value);
  byId("limitation").hidden = view.aside === null;
  say(byId("limitation"), view.aside ?? "");
  document.title = view.title;
}

function drawChoices({
  go,
  source,
  isLocked,
  sizes,
  sound,
  hasCameraMenu,
  hasMicrophoneMenu,
}: PublishView): void {
  const button = byId<HTMLButtonElement>("go");
  button.classList.toggle("primary", !go.isStop);
  button.classList.toggle("stop", go.isStop);
  button.disabled = go.isDisabled;
  say(button, go.text);

  for (const tab of document.querySelectorAll<HTMLButtonElement>(".tab")) {
    const isSelected = tab.dataset["source"] === source;
    tab.setAttribute("aria-selected", String(isSelected));
    tab.tabIndex = isSelected ? 0 : -1;
  }
  byId<HTMLSelectElement>("codec").disabled = isLocked;
  byId<HTMLInputElement>("sound").disabled = isLocked;
  byId<HTMLInputElement>("sound").checked = sound;
  byId<HTMLInputElement>("simulcast").disabled = sizes.isDisabled;
  byId<HTMLInputElement>("simulcast").checked = sizes.isChecked;
  say(byId("simulcast-label"), sizes.text);
  byId("camera-field").hidden = !hasCameraMenu;
  byId("microphone-field").hidden = !hasMicrophoneMenu;
}

function drawScreen({ empty, source, isMirrored, isLive, viewers }: PublishView): void {
  byId("screen-empty").hidden = empty === null;
  byId("screen").classList.toggle("mirrored", isMirrored);
  icon("empty-icon", source);
  icon("level-icon", source === "camera" ? "mic" : "sound");
  if (empty !== null) {
    say(byId("empty-text"), empty.text);
    say(byId("open"), empty.button);
    byId<HTMLButtonElement>("open").disabled = empty.isDisabled;
  }
  byId("badge").hidden = !isLive;
  byId("seen").hidden = !isLive;
  say(byId("viewers"), String(viewers));
}

function icon(id: string, name: string): void {
  document.getElementById(id)?.setAttribute("href", `#i-${name}`);
}
