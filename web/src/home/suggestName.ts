const HOW = [
  "amber",
  "bright",
  "calm",
  "clear",
  "early",
  "gentle",
  "golden",
  "lively",
  "quick",
  "quiet",
  "silver",
  "sunny",
];
const WHO = [
  "badger",
  "comet",
  "finch",
  "fox",
  "harbor",
  "heron",
  "lark",
  "maple",
  "otter",
  "river",
  "sparrow",
  "willow",
];

/** Returns a random stream name, to fill a field that is left empty. */
export function suggestName(): string {
  const pick = (words: string[]): string =>
    words[Math.floor(Math.random() * words.length)] ?? "stream";
  return `${pick(HOW)}-${pick(WHO)}`;
}
