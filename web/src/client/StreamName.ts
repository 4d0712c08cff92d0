/** The rule for stream names; the server checks the same. */

/** The rule in words, for people. */
export const STREAM_NAME_RULE = "Letters, digits, - and _, with / between parts.";

const MAX_LENGTH = 128;
const SEGMENTS = /^[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*$/;

/** Returns the mistake in `name` in words; `null` if there is none. */
export function streamNameProblem(name: string): string | null {
  if (name === "") return "A stream needs a name.";
  if (name.length > MAX_LENGTH)
    return `That name is ${name.length} characters long; at most ${MAX_LENGTH} are allowed.`;
  if (SEGMENTS.test(name)) return null;
  if (name.startsWith("/") || name.endsWith("/") || name.includes("//")) {
    return "A / stands between two parts, not at the ends.";
  }
  const stranger = [...name].find((character) => !/[A-Za-z0-9_/-]/.test(character)) ?? "";
  const named = stranger === " " ? "A space" : `“${stranger}”`;
  return `${named} is not allowed; use letters, digits, - and _.`;
}

/**
 * The stream that a page's path names: `/watch/a/b` is about `a/b`, and so is `/live/watch/a/b`
 * below the root `https://example.com/live`. `null` if it names none or an illegal one.
 */
export function streamFromPath(pathname: string, root: string): string | null {
  const below = new URL(root).pathname.replace(/\/$/, "");
  const path = pathname.startsWith(`${below}/`) ? pathname.slice(below.length) : pathname;
  const name = path
    .replace(/^\/+/, "/")
    .replace(/^\/(?:watch|publish)\/?/, "")
    .replace(/\/$/, "");
  try {
    const decoded = decodeURIComponent(name);
    return streamNameProblem(decoded) === null ? decoded : null;
  } catch {
    return null;
  }
}
