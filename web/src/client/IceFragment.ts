/** Pieces of SDP that travel by PATCH (RFC 8840, RFC 9725 §4.3). */

/**
 * Returns the fragment for an ICE restart: our credentials, and candidates where there are some.
 */
export function fragmentFromSdp(sdp: string): string {
  const lines = sdp.split(/\r?\n/);
  const first = (prefix: string): string | undefined =>
    lines.find((line) => line.startsWith(prefix));
  const fragment = [
    first("a=ice-ufrag:"),
    first("a=ice-pwd:"),
    first("m="),
    first("a=mid:"),
    ...new Set(lines.filter((line) => line.startsWith("a=candidate:"))),
  ];
  return fragment.filter((line) => line !== undefined).join("\r\n") + "\r\n";
}

/** One candidate, found after the offer went out. */
export function fragmentFromCandidate(sdp: string, candidate: RTCIceCandidate): string {
  const lines = fragmentFromSdp(sdp)
    .split("\r\n")
    .filter((line) => line !== "" && !line.startsWith("a=candidate:"));
  return (
    [
      ...lines,
      candidate.candidate === "" ? "a=end-of-candidates" : `a=${candidate.candidate}`,
    ].join("\r\n") + "\r\n"
  );
}

/**
 * The server's description with the credentials and candidates of `fragment` in place of its old
 * ones.
 */
export function graftFragment(sdp: string, fragment: string): string {
  const fresh = fragment.split(/\r?\n/);
  const ufrag = fresh.find((line) => line.startsWith("a=ice-ufrag:"));
  const password = fresh.find((line) => line.startsWith("a=ice-pwd:"));
  if (!ufrag || !password) return sdp;
  const candidates = [...new Set(fresh.filter((line) => line.startsWith("a=candidate:")))];

  const out: string[] = [];
  for (const line of sdp.trimEnd().split(/\r?\n/)) {
    if (line.startsWith("a=ice-ufrag:")) out.push(ufrag);
    else if (line.startsWith("a=ice-pwd:")) out.push(password);
    else if (!(candidates.length > 0 && /^a=(?:candidate:|end-of-candidates)/.test(line)))
      out.push(line);
  }
  if (candidates.length > 0) {
    // The bundle begins with the first section that is not rejected (port 0): its transport is that
    // of all.
    const media = out.findIndex((line) => /^m=\S+ (?!0 )/.test(line));
    const next = out.findIndex((line, index) => index > media && line.startsWith("m="));
    out.splice(next < 0 ? out.length : next, 0, ...candidates);
  }
  return out.join("\r\n") + "\r\n";
}
