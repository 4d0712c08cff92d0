/** Installs what the tests need besides npm's packages: aiortc and ffmpeg, in a Python of their own. */

import { ffmpegPath } from "./lib/python.mjs";

console.log(`ffmpeg: ${ffmpegPath()}`);
