import type { StreamStatus } from "../client/Api";
import type { Problem } from "../client/Problem";
import { streamNameProblem } from "../client/StreamName";
import { cardView, type CardView } from "./card";
import { hintWords, noticeWords } from "./words";

/** A form of the home page that leads to another page. */
export type Door = "publish" | "watch";

/** The hint below a name, and whether it explains a mistake. */
export interface Hint {
  text: string;
  isWrong: boolean;
}

/** The list of live streams at one moment. */
export interface HomeView {
  /** By name of the stream, in the server's order. */
  cards: CardView[];
  /** Number of live streams; `null`: none is shown. */
  count: number | null;
  /** Whether to say that no stream is live. */
  isEmpty: boolean;
  /** Why the list is not up to date; `null`: it is. */
  notice: string | null;
}

/**
 * A preview is a viewer's session for the server and a decoder for the browser, so only few play. A
 * guess.
 */
const MAX_PREVIEWS = 4;

/** Decides what the home page shows, and which previews play. Has no DOM and no clock. */
export class HomeModel {
  #streams: StreamStatus[] | null = null;
  #problem: Problem | null = null;
  /** Names of the streams whose cards are in sight. */
  readonly #inSight = new Set<string>();
  #isHidden = false;

  /** Takes the server's list. */
  handleStreams(streams: StreamStatus[]): void {
    this.#streams = streams.filter(({ state }) => state === "live");
    this.#problem = null;
    const names = new Set(this.#streams.map(({ stream }) => stream));
    for (const name of [...this.#inSight]) if (!names.has(name)) this.#inSight.delete(name);
  }

  /** The list could not be had. What was known of it stays. */
  handleProblem(problem: Problem): void {
    this.#problem = problem;
  }

  /** A card came into sight or went out of it. */
  handleSight(stream: string, isInSight: boolean): void {
    if (isInSight) this.#inSight.add(stream);
    else this.#inSight.delete(stream);
  }

  /** The page went to the background, or came from there. */
  handleHidden(isHidden: boolean): void {
    this.#isHidden = isHidden;
  }

  /** `unixMs`: the wall clock. */
  view(unixMs: number): HomeView {
    const streams = this.#streams ?? [];
    let left = this.#isHidden ? 0 : MAX_PREVIEWS;
    const cards = streams.map((status) => {
      const plays = this.#inSight.has(status.stream) && left-- > 0;
      return cardView(status, plays, unixMs);
    });
    return {
      cards,
      count: cards.length || null,
      isEmpty: this.#streams !== null && cards.length === 0 && this.#problem === null,
      notice: this.#problem === null ? null : noticeWords(this.#problem),
    };
  }
}

/** Returns the hint for what stands in the field of a door. */
export function hintFor(door: Door, text: string): Hint {
  const problem = text === "" ? null : streamNameProblem(text.trim());
  return { text: problem ?? hintWords(door), isWrong: problem !== null };
}

/**
 * Returns the stream that a door leads to; `null`: the name is missing or wrong. An empty field
 * takes the suggestion.
 */
export function nameFrom(text: string, suggestion: string | null): string | null {
  const name = text.trim() || suggestion;
  return name !== null && streamNameProblem(name) === null ? name : null;
}
