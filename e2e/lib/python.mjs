/** A Python of the tests' own, with aiortc and with the ffmpeg that the wheel of imageio-ffmpeg carries. */

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const VENV = fileURLToPath(new URL("../.venv", import.meta.url));
const REQUIREMENTS = fileURLToPath(new URL("../requirements.txt", import.meta.url));
export const PYTHON = join(VENV, "bin", "python");

/** Installs missing packages, and prints a line if it does. */
export function installPython() {
  const stamp = join(VENV, "installed.txt");
  const wanted = readFileSync(REQUIREMENTS, "utf8");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  console.log(`installing into ${VENV}: ${wanted.trim().split("\n").join(", ")}`);
  const run = (command, ...args) => execFileSync(command, args, { stdio: ["ignore", "inherit", "inherit"] });
  if (!existsSync(PYTHON)) run("python3", "-m", "venv", VENV);
  run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r", REQUIREMENTS);
  writeFileSync(stamp, wanted);
}

/** Path of the wheel's static ffmpeg. */
export function ffmpegPath() {
  installPython();
  for (const python of readdirSync(join(VENV, "lib"))) {
    const binaries = join(VENV, "lib", python, "site-packages", "imageio_ffmpeg", "binaries");
    const name = existsSync(binaries) ? readdirSync(binaries).find((file) => file.startsWith("ffmpeg-")) : null;
    if (name) return join(binaries, name);
  }
  throw new Error(`the wheel of imageio-ffmpeg carries no ffmpeg below ${VENV}`);
}
