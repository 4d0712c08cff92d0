/** Prints the figures that the tests have noted, as a table: `node e2e/tables.mjs`. */

import { existsSync, readFileSync } from "node:fs";
import { FIGURES, table } from "./lib/figures.mjs";

const rows = existsSync(FIGURES)
  ? readFileSync(FIGURES, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line))
  : [];
console.log(rows.length > 0 ? `\n${table(rows)}\n` : "no figures");
