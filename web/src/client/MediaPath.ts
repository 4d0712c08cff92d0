import { Problem } from "./Problem";

/** The two descriptions of a connection that did not come about although HTTP works. */
export interface FailedPath {
  /** The server's description; `null` if the browser gave up before it came. */
  answer: string | null;
  /** The browser's own description, with the candidates that it has gathered. */
  offer: string;
  /** The host name in the page's address. */
  pageHost: string;
}

/**
 * Returns the reason, as far as the candidates of both sides (RFC 8839) show it.
 */
export function noMediaProblem({ answer, offer, pageHost }: FailedPath): Problem {
  const servers = candidateAddresses(answer ?? "");
  const title = "The server answers, but media does not get through";
  if (candidateAddresses(offer).length === 0) {
    return new Problem({
      status: 0,
      title: "This browser has no network interface for media",
      detail: "Browsers do not use the loopback interface for WebRTC, and this one found no other.",
      fix:
        "Connect this machine to a network; it needs no Internet access. If it is connected, a " +
        "setting or " +
        "an extension of the browser holds WebRTC's addresses back.",
    });
  }
  if (answer !== null && servers.length === 0) {
    return new Problem({
      status: 0,
      title,
      detail: "The server names no address for media.",
      fix: "Its operator can name one with the option media.advertised_addresses.",
    });
  }
  if (isLoopbackOnly(answer ?? "")) return loopbackProblem(servers.join(", "), title, pageHost);
  return new Problem({
    status: 0,
    title,
    detail: "UDP seems to be blocked on the way between this browser and the server.",
    fix: "Try another network, or ask the operator whether the media port is open and advertised.",
  });
}

function loopbackProblem(addresses: string, title: string, pageHost: string): Problem {
  if (isLoopback(pageHost)) {
    return new Problem({
      status: 0,
      title: "Media does not get through on the loopback interface",
      detail:
        `The server offers media on loopback only (${addresses}). ` +
        "Firefox never uses that for WebRTC, other browsers not always.",
      fix:
        "Start the server without --loopback on a machine that is connected to a network. " +
        "This page's address stays the same.",
    });
  }
  return new Problem({
    status: 0,
    title,
    detail:
      `The server offers media on its own loopback interface only (${addresses}), ` +
      "which no other machine reaches.",
    fix:
      "Its operator can start it without --loopback, or name its address with the option " +
      "media.advertised_addresses.",
  });
}

/** Whether the server has named addresses, and all of them are on its loopback interface. */
export function isLoopbackOnly(sdp: string): boolean {
  const addresses = candidateAddresses(sdp);
  return addresses.length > 0 && addresses.every(isLoopback);
}

/** The addresses of all candidates, each once. The address is the fifth word (RFC 8839 §5.1). */
function candidateAddresses(sdp: string): string[] {
  const lines = sdp.match(/^a=candidate:.*$/gm) ?? [];
  return [...new Set(lines.map((line) => line.split(/\s+/)[4] ?? "").filter(Boolean))];
}

/** An address, or a host name of the page. */
function isLoopback(host: string): boolean {
  return (
    host === "localhost" ||
    host.endsWith(".localhost") ||
    /^127(\.\d+){3}$/.test(host) ||
    /^\[?::1\]?$/.test(host)
  );
}
