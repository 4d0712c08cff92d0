import type { Problem } from "../client/Problem";

/**
 * Returns a problem's title and text for people. The server's titles are names of status codes, its
 * texts are parts of sentences, and its advice to try again is what the page does by itself.
 */
export function problemWords(problem: Problem): { title: string; text: string } {
  const { status, title, detail, fix, handshake } = problem;
  const keepsTrying = handshake !== null || status === 429 || status >= 500;
  const advice = keepsTrying ? "This page keeps trying by itself." : fix;
  return { title: titleOf(problem) ?? title, text: sentences([detail, advice]) };
}

function titleOf({ status, handshake }: Problem): string | null {
  if (handshake !== null) return "The encrypted connection could not be made";
  if (status === 429) return "Too many requests from this address";
  if (status === 503) return "The server takes no more sessions right now";
  return status >= 500 ? "The server failed" : null;
}

/** Joins parts to text: each begins with a capital letter and ends with a full stop. */
export function sentences(parts: (string | null | undefined)[]): string {
  return parts
    .filter((part) => part !== null && part !== undefined && part.trim() !== "")
    .map((part) => part!.trim())
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
    .map((part) => (/[.!?…]$/.test(part) ? part : `${part}.`))
    .join(" ");
}
