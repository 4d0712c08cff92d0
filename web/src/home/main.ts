/** The home page: a door in, a door out, and what is live now. */

import { Access } from "../client/Access";
import { streamPath, type StreamStatus } from "../client/Api";
import { Problem } from "../client/Problem";
import { at } from "../client/root";
import { STREAM_NAME_RULE, streamNameProblem } from "../client/StreamName";
import { byId, say } from "../ui/dom";
import { suggestName } from "./suggestName";
import { StreamCard } from "./StreamCard";

const POLL_MS = 2_000;

const access = Access.fromLocation(location);
const cards = new Map<string, StreamCard>();

for (const link of document.querySelectorAll<HTMLAnchorElement>("[data-home]")) link.href = access.link("/");
byId<HTMLAnchorElement>("try").href = access.link("/publish/hello?source=test");

// The two doors. An empty name takes the suggestion that stands in the field.
const suggestion = suggestName();
door("publish", suggestion);
door("watch", null);

function door(page: "publish" | "watch", suggested: string | null): void {
  const input = byId<HTMLInputElement>(`${page}-name`);
  const hint = byId(`${page}-hint`);
  input.placeholder = suggested ?? "its name";

  const check = (): string | null => {
    const problem = input.value === "" ? null : streamNameProblem(input.value.trim());
    input.setAttribute("aria-invalid", String(problem !== null));
    hint.classList.toggle("wrong", problem !== null);
    say(hint, problem ?? (page === "publish" ? STREAM_NAME_RULE : "It starts by itself if it is not live yet."));
    return problem;
  };
  check();
  input.addEventListener("input", check);
  byId<HTMLFormElement>(page).addEventListener("submit", (event) => {
    event.preventDefault();
    const name = input.value.trim() || suggested;
    if (!name || check() !== null) return input.focus();
    location.href = access.link(streamPath(`/${page}`, name));
  });
}

// What is live now.
const visible = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      for (const card of cards.values()) if (card.element === target) card.isVisible = isIntersecting;
    }
    sharePreviews();
  },
  { rootMargin: "80px" },
);

async function refresh(): Promise<void> {
  if (document.hidden) return;
  try {
    const response = await fetch(at("/api/v1/streams"), { headers: access.headers(), cache: "no-store" });
    if (!response.ok) throw await Problem.fromResponse(response);
    const { streams } = (await response.json()) as { streams: StreamStatus[] };
    show(streams.filter(({ state }) => state === "live"));
    notice(null);
  } catch (thrown) {
    notice(Problem.from(thrown));
  }
}

function show(streams: StreamStatus[]): void {
  const names = new Set(streams.map(({ stream }) => stream));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    visible.unobserve(card.element);
    card.remove();
    cards.delete(name);
  }
  for (const status of streams) {
    let card = cards.get(status.stream);
    if (!card) {
      card = new StreamCard(status.stream, access);
      cards.set(status.stream, card);
      byId("cards").append(card.element);
      visible.observe(card.element);
    }
    card.update(status);
  }
  byId("cards").hidden = cards.size === 0;
  byId("empty").hidden = cards.size > 0;
  byId("count").hidden = cards.size === 0;
  say(byId("count"), String(cards.size));
  sharePreviews();
}

/** A preview is a viewer's session, so only few run: those in sight, first come first served. */
const MAX_PREVIEWS = 4;

function sharePreviews(): void {
  let left = document.hidden ? 0 : MAX_PREVIEWS;
  for (const card of cards.values()) card.play(card.isVisible && left-- > 0);
}

function notice(problem: Problem | null): void {
  const element = byId("notice");
  element.hidden = problem === null;
  if (!problem) return;
  byId("empty").hidden = true;
  say(
    element,
    problem.status === 401 || problem.status === 403
      ? "This server shows its list only to people with a token. Open this page by a link that ends in #token=… — " +
          "whoever runs the server can give you one. If you know a stream's name, you can still try to watch it above."
      : problem.status === 0
        ? "The server does not answer right now. This page goes on trying."
        : [problem.detail || problem.title, problem.fix].filter(Boolean).join(" "),
  );
}

document.addEventListener("visibilitychange", () => {
  sharePreviews();
  void refresh();
});
setInterval(() => void refresh(), POLL_MS);
void refresh();
