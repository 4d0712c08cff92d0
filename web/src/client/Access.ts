import { at } from "./root";

/**
 * The token that a page was opened with, if any.
 *
 * It stands in the location's fragment (`#token=…`), which browsers never send, and goes out as
 * `Authorization: Bearer`. Links to other pages keep it.
 */
export class Access {
  readonly token: string | null;

  constructor(token: string | null) {
    this.token = token;
  }

  /** Reads the token in the address of this page. */
  static fromLocation(location: Pick<Location, "hash">): Access {
    const token = new URLSearchParams(location.hash.replace(/^#/, "")).get("token");
    return new Access(token === "" ? null : token);
  }

  /** Headers for every request to the server. */
  headers(more: Record<string, string> = {}): Record<string, string> {
    return this.token === null ? more : { ...more, Authorization: `Bearer ${this.token}` };
  }

  /**
   * A page's or resource's address (`path` begins with a slash, or is a whole address), with the
   * token that opened this one.
   */
  link(path: string): string {
    const address = path.startsWith("/") ? at(path) : path;
    return this.token === null ? address : `${address}#token=${encodeURIComponent(this.token)}`;
  }
}
