/** Reads `Link` headers (RFC 8288). */

/**
 * Reads the ICE servers of a `Link` header (RFC 9725 §4.6; several headers are joined by commas),
 * for example `<turn:turn.example.net?transport=udp>; rel="ice-server"; username="u";
 * credential="c"; credential-type="password"`. Links of other relations, and what cannot be read,
 * are left out.
 */
export function iceServersFromLink(header: string | null): RTCIceServer[] {
  const servers: RTCIceServer[] = [];
  for (const { url, parameters } of linksTo("ice-server", header)) {
    if (!/^(?:stun|turn)s?:/i.test(url)) continue;
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

/** The first address of a relation in a `Link` header, as it is written there. */
export function linkTo(relation: string, header: string | null): string | null {
  return linksTo(relation, header)[0]?.url ?? null;
}

function linksTo(
  relation: string,
  header: string | null,
): { url: string; parameters: Map<string, string> }[] {
  return splitOutsideQuotes(header ?? "", ",").flatMap((link) => {
    const [target = "", ...rest] = splitOutsideQuotes(link, ";");
    const url = /^\s*<\s*([^>]+?)\s*>\s*$/.exec(target)?.[1];
    const parameters = new Map(rest.map(parameter));
    const isOfRelation = parameters.get("rel")?.toLowerCase().split(/\s+/).includes(relation);
    return url && isOfRelation ? [{ url, parameters }] : [];
  });
}

function parameter(text: string): [string, string] {
  const equals = text.indexOf("=");
  if (equals < 0) return [text.trim().toLowerCase(), ""];
  const value = text.slice(equals + 1).trim();
  const quoted = /^"(.*)"$/s.exec(value)?.[1];
  return [
    text.slice(0, equals).trim().toLowerCase(),
    quoted === undefined ? value : quoted.replace(/\\(.)/gs, "$1"),
  ];
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
