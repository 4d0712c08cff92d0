/** Access to the document that all pages share. */

import type { Access } from "../client/Access";

/** The element with this id. Its absence is a bug in the page. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}

/** The first match inside a parent. Its absence is a bug in the page. */
export function inside<T extends Element = HTMLElement>(parent: ParentNode, selector: string): T {
  const element = parent.querySelector<T>(selector);
  if (!element) throw new Error(`nothing matches ${selector}`);
  return element;
}

/** Sets the address of all links to the home page, with the token that opened this page. */
export function linkHome(access: Access): void {
  const links = document.querySelectorAll<HTMLAnchorElement>("[data-home]");
  links.forEach((link) => (link.href = access.link("/")));
}

/** Sets text only when it changes: screen readers speak live regions at every touch. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Resolves when the page has loaded.
 *
 * A player that waits for its first picture holds up the page's `load` event, and with it the
 * browser's "loading" sign: for a stream that has not started yet, for ever. So players get their
 * stream after it.
 */
export function pageLoaded(): Promise<void> {
  if (document.readyState === "complete") return Promise.resolve();
  return new Promise((resolve) => addEventListener("load", () => resolve(), { once: true }));
}

/** Copies text; pages without https have no clipboard of their own. Returns whether it worked. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "off-screen";
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
