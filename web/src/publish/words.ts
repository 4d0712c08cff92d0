import type { StreamStatus } from "../client/Api";
import type { Sending } from "../client/Encodings";
import type { ConnectionState } from "../client/LiveConnection";
import type { Problem } from "../client/Problem";
import * as format from "../ui/format";
import type { SourceKind } from "./settings";

/** What went wrong, and what to do about it. */
export interface Trouble {
  title: string;
  text: string;
}

const THINGS: Record<SourceKind, string> = { camera: "the camera", screen: "the screen", test: "the test picture" };

/** What is less than chosen in what is being sent, and why; `null` if nothing is. `sending`: smallest first. */
export function sendingWords(
  limitation: string | null,
  { height, frameRate }: { height: number; frameRate: number },
  sending: Sending[],
): string | null {
  if (limitation === "cpu") return "This computer is too busy for the full quality. A smaller picture or another codec may help.";
  const lines = ({ scale }: Sending): string => `${Math.round(height / scale)}p`;
  const top = sending.filter(({ active }) => active).at(-1);
  const unused = sending.filter(({ active }) => !active).map(lines);
  if (top && top.scale > 1) return `Saves your network: nobody needs more than ${lines(top)} just now.`;
  if (unused.length > 0) return `Saves your network: nobody needs ${unused.join(" and ")} just now.`;
  if (top && top.maxFrameRate < frameRate) {
    return `Saves your network: nobody needs more than ${Math.round(top.maxFrameRate)} frames a second just now.`;
  }
  if (limitation === "bandwidth") return "The network is too narrow for the full quality just now; the picture adapts.";
  return null;
}

/** What the box for several sizes offers. */
export function sizesWords(codec: string | null, hasSizes: boolean): string {
  return hasSizes ? "Smaller sizes for slow networks" : `One size only: this browser cannot send ${format.codec(codec)} in several`;
}

/** Why there is no picture to send. */
export function mediaTrouble(thrown: unknown, kind: SourceKind): Trouble {
  const thing = THINGS[kind];
  const name = thrown instanceof DOMException || thrown instanceof Error ? thrown.name : "";
  switch (name) {
    case "NotAllowedError":
      return kind === "screen"
        ? { title: "No screen was chosen", text: "Press the button again and choose a screen, a window or a tab." }
        : {
            title: "The browser may not use the camera",
            text: "Permission was denied. Click the camera or lock sign beside the address, allow camera and microphone, and try again.",
          };
    case "NotFoundError":
    case "DevicesNotFoundError":
      return {
        title: "No camera or microphone was found",
        text: "Plug one in and try again. Without a microphone, switch “Send sound” off. Without a camera, the test picture works anywhere.",
      };
    case "NotReadableError":
    case "AbortError":
      return { title: `Another program is using ${thing}`, text: "Close it there (a video call, perhaps) and try again." };
    case "OverconstrainedError":
      return { title: "That device is gone", text: "Choose another one from the list." };
    case "SecurityError":
      return {
        title: `Browsers show ${thing} only to secure pages`,
        text:
          `This page came over plain http. Open it as https://${location.host} (the server needs a certificate, or may make its own ` +
          "on request), or as http://localhost on the server's own machine. The test picture works here too.",
      };
    default:
      return { title: `${thing.charAt(0).toUpperCase()}${thing.slice(1)} could not be opened`, text: String(thrown) };
  }
}

/** What became of the last attempt to publish this stream, perhaps by another program; `null` if nothing failed. */
export function attemptTrouble(status: StreamStatus | null): Trouble | null {
  const failure = status?.publish_failure;
  if (!failure) return null;
  return { title: `At ${format.timeOfDay(failure.failed_at_ms)} a publisher could not connect`, text: `Its DTLS handshake failed: ${failure.detail}.` };
}

/** Why the stream does not get through. */
export function streamTrouble(problem: Problem, stream: string): Trouble {
  if (problem.handshake !== null) {
    return {
      title: "The encrypted connection could not be made",
      text: [problem.detail, problem.fix].filter(Boolean).join(" "),
    };
  }
  switch (problem.status) {
    case 401:
    case 403:
      return {
        title: "You need a token to publish here",
        text: problem.fix ?? "Open the link that you were given in full; it ends in #token=…",
      };
    case 409:
      return {
        title: `Somebody is already live as “${stream}”`,
        text: "Choose another name on the home page, or wait until they stop.",
      };
    default:
      return { title: problem.title, text: [problem.detail, problem.fix].filter(Boolean).join(" ") };
  }
}

/** The connection in words. `hasTrouble`: a problem is shown beside them. */
export function stateWords(state: ConnectionState, hasTrouble: boolean): string {
  switch (state) {
    case "idle":
    case "refused":
      return "Not live";
    case "connecting":
      return "Connecting…";
    case "connected":
      return "You are live";
    case "reconnecting":
      return hasTrouble ? "Not live, trying again…" : "Connection lost, reconnecting…";
    case "ended":
      return "The server ended the stream";
  }
}
