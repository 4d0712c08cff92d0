import assert from "node:assert/strict";
import { test } from "node:test";
import { canSendSizes } from "../src/client/SendSupport";
import { sendOptions, settingsFromQuery } from "../src/publish/settings";

test("a codec that needs a mode is sent in one size where the browser drops the mode", () => {
  const rows: [string, boolean, number, string | null][] = [
    ["codec=VP9", true, 3, "L1T1"],
    ["codec=AV1", true, 3, "L1T1"],
    ["codec=VP9", false, 1, null],
    ["codec=av1", false, 1, null],
    ["codec=VP8", false, 3, null],
    ["codec=H264", false, 3, null],
    ["codec=auto", false, 3, null],
    ["codec=VP9&simulcast=0", true, 1, null],
    ["codec=VP9&svc=L3T3_KEY", true, 1, "L3T3_KEY"],
    ["codec=VP9&res=360", true, 2, "L1T1"],
  ];
  for (const [query, keepsMode, sizes, mode] of rows) {
    const settings = settingsFromQuery(new URLSearchParams(query));
    const options = sendOptions(settings, (codec) => canSendSizes(codec, () => keepsMode));
    assert.deepEqual(
      [options.encodings.length, options.scalabilityMode],
      [sizes, mode],
      `${query}, mode ${keepsMode ? "kept" : "dropped"}`,
    );
  }
});
