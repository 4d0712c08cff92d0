/** ICE servers from `Link` headers: RFC 9725 §4.6, RFC 8288. */

/**
 * Reads the ICE servers of a `Link` header (several headers are joined by commas), for example
 * `<turn:turn.example.net?transport=udp>; rel="ice-server"; username="u"; credential="c"; credential-type="password"`.
 * Links of other relations, and what cannot be read, are left out.
 */
export function iceServersFromLink(header: string | null): RTCIceServer[] {
  const servers: RTCIceServer[] = [];
  for (const link of splitOutsideQuotes(header ?? "", ",")) {
    const [target = "", ...rest] = splitOutsideQuotes(link, ";");
    const url = /^\s*<\s*([^>]+?)\s*>\s*$/.exec(target)?.[1];
    if (!url || !/^(?:stun|turn)s?:/i.test(url)) continue;
    const parameters = new Map(rest.map(parameter));
    if (!parameters.get("rel")?.toLowerCase().split(/\s+/).includes("ice-server")) continue;
    const username = parameters.get("username");
    const credential = parameters.get("credential");
    servers.push({
      urls: url,
      ...(username === undefined ? {} : { username }),
      ...(credential === undefined ? {} : { credential }),
    });
  }
  return servers;
}

function parameter(text: string): [string, string] {
  const equals = text.indexOf("=");
  if (equals < 0) return [text.trim().toLowerCase(), ""];
  const value = text.slice(equals + 1).trim();
  const quoted = /^"(.*)"$/s.exec(value)?.[1];
  return [text.slice(0, equals).trim().toLowerCase(), quoted === undefined ? value : quoted.replace(/\\(.)/gs, "$1")];
}

/** Splits at `separator`, but neither inside "…" nor inside <…>. */
function splitOutsideQuotes(text: string, separator: string): string[] {
  const parts: string[] = [];
  let part = "";
  let closing = "";
  for (let i = 0; i < text.length; i++) {
    const character = text.charAt(i);
    if (closing === '"' && character === "\\") {
      part += character + text.charAt(++i);
      continue;
    }
    if (closing === "" && character === separator) {
      parts.push(part);
      part = "";
      continue;
    }
    if (closing === "") closing = character === '"' ? '"' : character === "<" ? ">" : "";
    else if (character === closing) closing = "";
    part += character;
  }
  return [...parts, part].filter((each) => each.trim() !== "");
}
