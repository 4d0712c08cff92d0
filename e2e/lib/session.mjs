/** The session that a watch page opens, as a client with its address sees it. */

/**
 * Sends a page there. Returns the address of the WHEP session that it opens, and what posts a wish of layers to that (JSON text;
 * returns the answer).
 */
export async function openSession(page, url) {
  const isOpened = (response) => response.status() === 201 && /^\/whep\//.test(new URL(response.url()).pathname);
  const opened = page.waitForResponse(isOpened);
  await page.goto(url, { waitUntil: "domcontentloaded" });
  const response = await opened;
  const session = new URL(await response.headerValue("location"), response.url()).href;
  const headers = { "Content-Type": "application/json" };
  const wish = (body) => fetch(`${session}/layers`, { method: "POST", headers, body, signal: AbortSignal.timeout(30_000) });
  return { session, wish };
}
