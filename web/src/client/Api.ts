/** The server's API: the types of its JSON (generated), and the addresses of its streams. */

import type { StreamStatus } from "./api.gen";
import { at } from "./root";

export type * from "./api.gen";

/**
 * Returns the status of a stream that has neither a publisher nor viewers: the server answers 404
 * for it.
 */
export function waitingStream(stream: string): StreamStatus {
  return {
    stream,
    state: "waiting",
    viewers: 0,
    warnings: [],
    publish_failure: null,
    bitrate_in_bps: 0,
    bitrate_out_bps: 0,
  };
}

/**
 * Returns the address of a resource of a stream. Slashes in the name separate parts of the path.
 */
export function streamPath(prefix: string, stream: string, suffix = ""): string {
  return `${at(prefix)}/${stream.split("/").map(encodeURIComponent).join("/")}${suffix}`;
}
