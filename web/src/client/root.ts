/**
 * Where the server's resources are: its address, without a slash at its end.
 *
 * Behind a reverse proxy that may be below a path, such as `https://example.com/live`. Scripts lie
 * in `assets/` below it, so a script's own address tells. It is a whole address, so that no path
 * can be taken for another host.
 */
export const root: string = rootOf(import.meta.url);

/** The root that a script belongs to. */
export function rootOf(script: string): string {
  return new URL("..", script).href.replace(/\/+$/, "");
}

/** The address of a resource; `path` begins with a slash. */
export function at(path: string): string {
  return root + path;
}
