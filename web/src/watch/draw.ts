import { byId, say } from "../ui/dom";
import type { WatchView } from "./WatchModel";

/** Brings the document in line with the view. */
export function draw(view: WatchView): void {
  const player = byId("player");
  player.dataset["state"] = view.state;
  player.classList.toggle("has-picture", view.hasPicture);
  player.classList.toggle("sound-only", view.isSoundOnly);
  say(byId("title"), view.title);
  say(byId("text"), view.text);
  byId("again").hidden = !view.canTryAgain;
  byId("badge").hidden = !view.isLive;
  byId("seen").hidden = view.viewers === null;
  say(byId("viewers"), String(view.viewers ?? 0));
  say(byId("about"), view.about);
}

/** The page of an address that names no possible stream. */
export function drawIllegalName(rule: string): void {
  byId("player").dataset["state"] = "refused";
  say(byId("title"), "This is not a stream name");
  say(byId("text"), rule);
  say(byId("name"), "Invalid name");
  byId("share").hidden = true;
  byId("home").hidden = false;
}
