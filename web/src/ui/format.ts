/** Numbers for people. `–` stands for an unknown one. */

const NOTHING = "–";

/** `2.4 Mb/s`, `840 kb/s`. */
export function bitrate(bitsPerSecond: number | null | undefined): string {
  if (bitsPerSecond === null || bitsPerSecond === undefined) return NOTHING;
  if (bitsPerSecond >= 999_500) return `${(bitsPerSecond / 1e6).toFixed(1)} Mb/s`;
  return `${Math.round(bitsPerSecond / 1000)} kb/s`;
}

/** `84 ms`, `1.2 s`. */
export function milliseconds(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return NOTHING;
  if (ms >= 9_950) return `${Math.round(ms / 1000)} s`;
  return ms >= 1_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`;
}

/** `0 %`, `0.4 %`, `12 %`. */
export function percent(value: number | null | undefined): string {
  if (value === null || value === undefined) return NOTHING;
  return value < 0.05 ? "0 %" : `${value >= 10 ? Math.round(value) : value.toFixed(1)} %`;
}

/** `30 fps`. */
export function frameRate(value: number | null | undefined): string {
  return value === null || value === undefined ? NOTHING : `${Math.round(value)} fps`;
}

/** `1280×720`. */
export function size(width: number | null | undefined, height: number | null | undefined): string {
  return width && height ? `${width}×${height}` : NOTHING;
}

/** `42 s`, `12 min`, `1 h 05 min`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** `1 viewer`, `12 viewers`. */
export function viewers(count: number): string {
  return `${count} ${count === 1 ? "viewer" : "viewers"}`;
}

/** Codecs by the name people know them by. (RED is Opus, sent twice.) */
export function codec(name: string | null | undefined): string {
  if (!name) return NOTHING;
  const known: Record<string, string> = {
    H264: "H.264",
    H265: "H.265",
    OPUS: "Opus",
    RED: "Opus",
    AV1X: "AV1",
  };
  return known[name.toUpperCase()] ?? name;
}

/** A time of day in this browser's time zone, such as `14:05`. */
export function timeOfDay(unixMs: number): string {
  const at = new Date(unixMs);
  return `${at.getHours()}:${String(at.getMinutes()).padStart(2, "0")}`;
}
