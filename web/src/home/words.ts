import type { Problem } from "../client/Problem";
import { STREAM_NAME_RULE } from "../client/StreamName";
import { sentences } from "../ui/problemWords";

/** The hint below a name that has no mistake. */
export function hintWords(door: "publish" | "watch"): string {
  return door === "publish" ? STREAM_NAME_RULE : "It starts by itself if it is not live yet.";
}

/** Why the list of streams is missing or old. */
export function noticeWords({ status, title, detail, fix }: Problem): string {
  if (status === 401 || status === 403) {
    return (
      "This server shows its list only with a token: open this page by a link that ends in " +
      "#token=…, which the server's operator can make. A stream whose name you know can still " +
      "be opened above."
    );
  }
  if (status === 0) return "The server does not answer right now. This page keeps trying.";
  return sentences([detail || title, fix]);
}
