// Builds the pages into dist/: hashed assets, and HTML that names them.
//
// HTML sources say `{{asset publish/main.ts}}` where the address of an asset belongs, and `{{part
// header}}` for what pages share. `{{root}}` stays in what is built: there the server writes what
// leads to its root, which may be below a path of a reverse proxy.

import { build } from "esbuild";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";

const root = import.meta.dirname;
const from = (name) => path.join(root, "src", name);

const common = {
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  outdir: path.join(root, "dist/assets"),
  outbase: path.join(root, "src"),
  entryNames: "[name]-[hash]",
  loader: { ".svg": "copy" },
  metafile: true,
  logLevel: "warning",
};

/** Source name (below src/) → name of what it became, in dist/assets/. */
const addresses = new Map();

async function bundle(names, options = {}) {
  // An entry may be renamed ("publish" for publish/main.ts), so that asset names tell pages apart.
  const entryPoints = names.map(([source, out]) => ({ in: from(source), out }));
  const { metafile } = await build({ ...common, ...options, entryPoints });
  for (const [output, { entryPoint, inputs }] of Object.entries(metafile.outputs)) {
    const source = entryPoint ?? Object.keys(inputs)[0];
    const name = path
      .relative(from("."), path.resolve(process.cwd(), source))
      .replaceAll(path.sep, "/");
    addresses.set(name, path.basename(output));
  }
}

async function page(source, target) {
  let html = await readFile(from(source), "utf8");
  for (let part; (part = html.match(/\{\{part (\w+)\}\}/));) {
    html = html.replace(part[0], (await readFile(from(`parts/${part[1]}.html`), "utf8")).trimEnd());
  }
  html = html.replaceAll(/\{\{asset ([^}]+)\}\}/g, (_, name) => {
    const address = addresses.get(name);
    if (!address) throw new Error(`${source} names ${name}, which is not built`);
    return `{{root}}/assets/${address}`;
  });
  await writeFile(path.join(root, "dist", target), html);
}

await rm(path.join(root, "dist"), { recursive: true, force: true });
await mkdir(path.join(root, "dist/assets"), { recursive: true });

// The worker comes first: the pages carry its hashed address.
await bundle([["client/Ticker.worker.ts", "ticker"]]);
await bundle(
  [
    ["home/main.ts", "home"],
    ["publish/main.ts", "publish"],
    ["watch/main.ts", "watch"],
    ["ui/theme.ts", "theme"],
    ["style/nowcast.css", "nowcast"],
    ["parts/logo.svg", "logo"],
  ],
  { define: { TICKER_WORKER: JSON.stringify(addresses.get("client/Ticker.worker.ts")) } },
);
await page("home/home.html", "index.html");
await page("publish/publish.html", "publish.html");
await page("watch/watch.html", "watch.html");
// For browsers that request /favicon.ico without having read the page.
await copyFile(from("parts/logo.svg"), path.join(root, "dist/favicon.svg"));
