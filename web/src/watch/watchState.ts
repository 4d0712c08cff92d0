import type { StreamStatus, ViewerReport } from "../client/Api";
import type { ConnectionState } from "../client/LiveConnection";
import type { Problem } from "../client/Problem";

/** State of the watch page, as the viewer experiences it. */
export type WatchState =
  | "connecting"
  | "waiting"
  | "live"
  | "paused"
  | "reconnecting"
  | "unsupported"
  | "unauthorised"
  | "refused"
  | "ended";

/**
 * A frame counts against a status that is more than this time older, in ms: a status may be on its
 * way for this time.
 */
const NEWER_MS = 300;

/** Decides the state from the connection, the server's status and report, and the frames. */
export function watchState(known: {
  connection: ConnectionState;
  problem: Problem | null;
  status: StreamStatus | null;
  /** When the status came, and when the last frame was shown; `performance.now()`, 0 for never. */
  statusAt: number;
  frameAt: number;
  /** The server's last report on the session. */
  report: ViewerReport | null;
}): WatchState {
  const { connection, problem, status, statusAt, frameAt, report } = known;
  switch (connection) {
    case "refused":
      if (problem?.status === 406) return "unsupported";
      return problem?.status === 401 || problem?.status === 403 ? "unauthorised" : "refused";
    case "ended":
      return "ended";
    case "reconnecting":
      return "reconnecting";
    case "idle":
    case "connecting":
      return "connecting";
    case "connected":
      break;
  }
  const pictureIsNews = frameAt > 0 && frameAt > statusAt + NEWER_MS;
  // The codec was published after the session was opened, so the server refused nothing.
  if (
    status?.state === "live" &&
    status.video &&
    report?.video?.reason === "codec" &&
    !pictureIsNews
  )
    return "unsupported";
  if (!status) return frameAt > 0 ? "live" : "connecting";
  if (status.state !== "live" && !pictureIsNews) return status.state;
  return frameAt > 0 || !status.video ? "live" : "connecting";
}
