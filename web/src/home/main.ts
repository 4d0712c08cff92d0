/** The home page: connects the document, the view model and the list of streams. */

import { Access } from "../client/Access";
import { streamPath, type Streams } from "../client/Api";
import { Problem } from "../client/Problem";
import { at } from "../client/root";
import { byId, linkHome, say } from "../ui/dom";
import { hintFor, HomeModel, nameFrom, type Door, type HomeView } from "./HomeModel";
import { StreamCard } from "./StreamCard";
import { suggestName } from "./suggestName";

/** How often the list is asked for. A guess: soon enough for a stream that has just begun. */
const POLL_MS = 2_000;

const access = Access.fromLocation(location);
const model = new HomeModel();
const cards = new Map<string, StreamCard>();
const sight = new IntersectionObserver(handleSight, { rootMargin: "80px" });

linkHome(access);
byId<HTMLAnchorElement>("try").href = access.link("/publish/hello?source=test");
openDoor("publish", suggestName());
openDoor("watch", null);
document.addEventListener("visibilitychange", () => {
  model.handleHidden(document.hidden);
  show();
  void refresh();
});
setInterval(() => void refresh(), POLL_MS);
void refresh();

function openDoor(door: Door, suggestion: string | null): void {
  const input = byId<HTMLInputElement>(`${door}-name`);
  const hint = byId(`${door}-hint`);
  input.placeholder = suggestion ?? "its name";
  const check = (): void => {
    const { text, isWrong } = hintFor(door, input.value);
    input.setAttribute("aria-invalid", String(isWrong));
    hint.classList.toggle("wrong", isWrong);
    say(hint, text);
  };
  check();
  input.addEventListener("input", check);
  byId<HTMLFormElement>(door).addEventListener("submit", (event) => {
    event.preventDefault();
    const name = nameFrom(input.value, suggestion);
    if (name === null) input.focus();
    else location.href = access.link(streamPath(`/${door}`, name));
  });
}

async function refresh(): Promise<void> {
  if (document.hidden) return;
  try {
    const response = await fetch(at("/api/v1/streams"), {
      headers: access.headers(),
      cache: "no-store",
    });
    if (!response.ok) throw await Problem.fromResponse(response);
    model.handleStreams(((await response.json()) as Streams).streams);
  } catch (thrown) {
    model.handleProblem(Problem.from(thrown));
  }
  show();
}

function show(): void {
  draw(model.view(Date.now()));
}

function draw(view: HomeView): void {
  const names = new Set(view.cards.map(({ stream }) => stream));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    sight.unobserve(card.element);
    card.remove();
    cards.delete(name);
  }
  for (const cardView of view.cards)
    (cards.get(cardView.stream) ?? addCard(cardView.stream)).draw(cardView);
  byId("cards").hidden = view.count === null;
  byId("empty").hidden = !view.isEmpty;
  byId("count").hidden = view.count === null;
  say(byId("count"), String(view.count ?? 0));
  byId("notice").hidden = view.notice === null;
  say(byId("notice"), view.notice ?? "");
}

function addCard(stream: string): StreamCard {
  const card = new StreamCard(stream, access);
  cards.set(stream, card);
  byId("cards").append(card.element);
  sight.observe(card.element);
  return card;
}

function handleSight(entries: IntersectionObserverEntry[]): void {
  for (const { target, isIntersecting } of entries) {
    const card = [...cards.values()].find(({ element }) => element === target);
    if (card) model.handleSight(card.stream, isIntersecting);
  }
  show();
}
