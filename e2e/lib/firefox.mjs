/** Firefox ESR, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/), with the part of Playwright's page that the tests use. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";
import { Child } from "./child.mjs";
import { inTime, pause, until } from "./until.mjs";

export const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

/** Neither updates nor reports, and sound without a click: the publish page makes its own. All of WebRTC is as users have it. */
const PREFERENCES = {
  "app.normandy.enabled": false,
  "app.update.disabledForTesting": true,
  "browser.safebrowsing.downloads.remote.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "media.autoplay.default": 0,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "remote.prefs.recommended": true,
  "services.settings.server": "data:,#remote-settings-dummy/v1",
  "toolkit.telemetry.enabled": false,
};

/** A command that takes longer than this has failed: pages answer at once, a busy machine within seconds. */
const ANSWER_MS = 60_000;

/** Starts Firefox. `close()` ends it. */
export async function launchFirefox({ preferences = {} } = {}) {
  if (!existsSync(FIREFOX)) throw new Error(`${FIREFOX} is missing: apt-get install firefox-esr`);
  const profile = mkdtempSync(join(tmpdir(), "nowcast-firefox-"));
  const lines = Object.entries({ ...PREFERENCES, ...preferences }).map((pair) => `user_pref(${pair.map((each) => JSON.stringify(each)).join(", ")});`);
  writeFileSync(join(profile, "user.js"), `${lines.join("\n")}\n`);
  const child = new Child(FIREFOX, ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank"], {
    env: { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: "1" },
  });
  const address = await until(
    "Firefox says where it listens",
    () => {
      if (child.exit) throw new Error(`Firefox ended at once:\n${child.tail()}`);
      return /WebDriver BiDi listening on (ws:\/\/\S+)/.exec(child.output)?.[1];
    },
    { within: 60_000 },
  );
  const socket = new WebSocket(`${address}/session`, { perMessageDeflate: false, maxPayload: 64 * 1024 * 1024 });
  await inTime("the connection to Firefox opens", ANSWER_MS, new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject)));
  const firefox = new Firefox(child, profile, socket);
  const { capabilities } = await firefox.command("session.new", { capabilities: {} });
  firefox.version = capabilities.browserVersion;
  await firefox.command("session.subscribe", { events: ["log.entryAdded", "network.beforeRequestSent"] });
  return firefox;
}

class Firefox {
  #child;
  #profile;
  #socket;
  #asked = 0;
  #waiting = new Map();
  #pages = new Map();

  constructor(child, profile, socket) {
    this.#child = child;
    this.#profile = profile;
    this.#socket = socket;
    socket.on("message", (text) => this.#hear(JSON.parse(text)));
    socket.on("error", () => {});
    socket.on("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`Firefox closed its connection:\n${child.tail()}`));
      this.#waiting.clear();
    });
  }

  /** A page in a window of its own, with cookies and storage of its own. */
  async newPage({ viewport = { width: 1280, height: 720 } } = {}) {
    const { userContext } = await this.command("browser.createUserContext", {});
    const { context } = await this.command("browsingContext.create", { type: "window", userContext });
    await this.command("browsingContext.setViewport", { context, viewport });
    const page = new FirefoxPage(this, context, userContext);
    this.#pages.set(context, page);
    return page;
  }

  async command(method, params) {
    const id = (this.#asked += 1);
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#socket.send(JSON.stringify({ id, method, params }));
    try {
      return await inTime(`Firefox answers ${method}`, ANSWER_MS, answer);
    } finally {
      this.#waiting.delete(id);
    }
  }

  async close() {
    this.#socket.close();
    await this.#child.stop();
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #hear({ id, type, result, error, message, method, params }) {
    if (type === "event") {
      this.#pages.get(params.source?.context ?? params.context)?.hear(method, params);
      return;
    }
    const waiting = this.#waiting.get(id);
    if (type === "success") waiting?.resolve(result);
    else waiting?.reject(new Error(`Firefox: ${error}: ${message}`));
  }
}

class FirefoxPage {
  /** As `openPage` of browser.mjs describes them. */
  complaints = [];
  posts = [];

  constructor(firefox, context, userContext) {
    this.firefox = firefox;
    this.context = context;
    this.userContext = userContext;
  }

  hear(method, params) {
    if (method === "log.entryAdded" && params.level === "error") this.complaints.push(`${params.type}: ${params.text} (${params.stackTrace?.callFrames?.[0]?.url ?? ""})`);
    if (method === "network.beforeRequestSent" && params.request.method === "POST") this.posts.push(params.request.url);
  }

  async goto(url) {
    await this.firefox.command("browsingContext.navigate", { context: this.context, url, wait: "interactive" });
  }

  /** Runs `what` in the page, with `argument`; both argument and result go as JSON. */
  async evaluate(what, argument = null) {
    const { type, result, exceptionDetails } = await this.firefox.command("script.callFunction", {
      functionDeclaration: `async (argument) => JSON.stringify(await (${what})(JSON.parse(argument)))`,
      arguments: [{ type: "string", value: JSON.stringify(argument) }],
      awaitPromise: true,
      userActivation: true,
      target: { context: this.context },
    });
    if (type === "exception") throw new Error(exceptionDetails.text);
    return result.type === "string" ? JSON.parse(result.value) : undefined;
  }

  /** Runs `what` in the page that is opened next, before the page's own scripts. */
  async addInitScript(what, argument = null) {
    await this.firefox.command("script.addPreloadScript", {
      functionDeclaration: `() => (${what})(${JSON.stringify(argument)})`,
      contexts: [this.context],
    });
  }

  async waitForTimeout(ms) {
    await pause(ms);
  }

  async screenshot({ path } = {}) {
    const { data } = await this.firefox.command("browsingContext.captureScreenshot", { context: this.context });
    const picture = Buffer.from(data, "base64");
    if (path) writeFileSync(path, picture);
    return picture;
  }

  async end() {
    await this.firefox.command("browsingContext.close", { context: this.context });
    await this.firefox.command("browser.removeUserContext", { userContext: this.userContext });
  }
}
