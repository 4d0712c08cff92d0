import type { StreamStatus, ViewerReport } from "../client/Api";
import type { ConnectionState } from "../client/LiveConnection";
import type { Problem } from "../client/Problem";

/** What the viewer experiences. */
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
 * A frame this much younger than the last status says more than the status. A status may be on its
 * way for that long.
 */
const NEWER_MS = 300;

/** Puts together what the connection, the server's status and the pictures themselves say. */
export function watchState(known: {
  connection: ConnectionState;
  problem: Problem | null;
  status: StreamStatus | null;
  /** When the status came, and when the last frame was shown; `performance.now()`, 0 for never. */
  statusAt: number;
  frameAt: number;
  /** What the server last said about our session. */
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
  // The codec was published after we came, so there was nothing to refuse then.
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
