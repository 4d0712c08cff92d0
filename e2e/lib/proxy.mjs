/** A reverse proxy that shows a server below a path: strips the path or not, says so or not. */

import http from "node:http";

export class Proxy {
  /** `strips`: whether the server sees the path without the prefix; `says`: whether it is told by X-Forwarded-Prefix. */
  static async start(server, { prefix = "/live", strips = true, says = false } = {}) {
    const proxy = new Proxy();
    const upstream = new URL(server);
    proxy.http = http.createServer((request, response) => {
      if (!request.url.startsWith(`${prefix}/`)) return response.writeHead(404).end("not below the prefix");
      const path = strips ? request.url.slice(prefix.length) : request.url;
      const headers = { ...request.headers, ...(says ? { "x-forwarded-prefix": prefix } : {}) };
      const { hostname, port } = upstream;
      const passed = http.request({ hostname, port, path, method: request.method, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
        // An event stream that its reader leaves is to end behind us, too.
        response.on("close", () => answer.destroy());
      });
      passed.on("error", () => response.destroy());
      request.pipe(passed);
    });
    proxy.http.on("connection", (socket) => socket.on("error", () => {}));
    await new Promise((resolve) => proxy.http.listen(0, "127.0.0.1", resolve));
    proxy.origin = `http://127.0.0.1:${proxy.http.address().port}`;
    proxy.url = proxy.origin + prefix;
    return proxy;
  }

  stop() {
    this.http.closeAllConnections();
    return new Promise((resolve) => this.http.close(resolve));
  }
}
