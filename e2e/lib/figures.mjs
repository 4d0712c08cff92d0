/** Figures that tests measure: printed, kept as JSON lines for the tables at the end, never asserted. */

import { appendFileSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const OUT = fileURLToPath(new URL("../out/", import.meta.url));
export const FIGURES = process.env.NOWCAST_E2E_FIGURES ?? `${OUT}figures.jsonl`;

export function quantile(values, share) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

export const median = (values) => quantile(values, 0.5);

/** Notes what `values` (milliseconds) say about `what`. */
export function figure(what, values, { target = null, unit = "ms", note = "" } = {}) {
  const clean = values.filter((value) => Number.isFinite(value));
  const round = (value) => (value === null ? null : Math.round(value * 10) / 10);
  const row = {
    what,
    samples: clean.length,
    median: round(median(clean)),
    p95: round(quantile(clean, 0.95)),
    max: round(clean.length ? Math.max(...clean) : null),
    unit,
    target,
    note,
  };
  mkdirSync(OUT, { recursive: true });
  appendFileSync(FIGURES, `${JSON.stringify(row)}\n`);
  console.log(`figure ${JSON.stringify(row)}`);
  return row;
}

/** The figures as a table for people. */
export function table(rows) {
  const head = ["what", "n", "median", "p95", "max", "to reach", ""];
  const cell = (value, unit) => (value === null ? "–" : `${value} ${unit}`);
  const lines = rows.map(({ what, samples, median, p95, max, unit, target, note }) => [
    what,
    String(samples),
    cell(median, unit),
    cell(p95, unit),
    cell(max, unit),
    target ?? "",
    note ?? "",
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...lines].map((line) => line[column].length)));
  const line = (cells) =>
    cells.map((text, column) => (column === 0 || column > 4 ? text.padEnd(widths[column]) : text.padStart(widths[column]))).join("  ").trimEnd();
  return [line(head), line(widths.map((width) => "─".repeat(width))), ...lines.map(line)].join("\n");
}
