/**
 * Builds `dist`: for each entry an ES module, those for programs as CommonJS too, and types for both. What is built is minified, because
 * pages load it as it is; the source maps beside it show it as it was.
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";
import { minify } from "terser";

const here = import.meta.dirname;
const dist = `${here}/dist`;
const ENTRIES = { index: "index", msgpack: "msgpack", fallback: "fallback", node: "transport/node", "shared-worker": "shared-worker", worker: "worker" };
/** Loaded when they are needed, by all: only as ES modules. */
const LATER = ["fallback", "node"];
/** For browsers only, where there is no CommonJS. */
const BROWSER = ["shared-worker", "worker"];
/** Properties of our own objects that nobody outside sees, beside those that begin with `_`. None of them is on the wire. */
const INTERNALS = ["takers", "wanted", "asked", "room", "policy", "enter", "leave", "receive", "live", "known", "ends", "bare", "feeds", "forget", "opened", "lost", "ask", "commandOf", "messageBytesMax", "busy", "again", "welcomed", "command", "seen", "tick", "said", "refused", "pending", "link", "goodbye", "settle", "fail", "say", "left", "top", "worked", "way"];

/** Private names as properties that are mangled, which compress better: a tenth of a kilobyte in `index.js`. */
const privates = {
  name: "privates",
  setup: ({ onLoad }) => onLoad({ filter: /clients\/js\/src\/.*\.ts$/ }, ({ path }) => ({ loader: "ts", contents: readFileSync(path, "utf8").replace(/(?<![\w"'`/])#(?=[a-z]\w*)/g, "_") })),
};

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
const mangleCache = {};
for (const format of ["esm", "cjs"]) {
  for (const [name, source] of Object.entries(ENTRIES)) {
    if (format === "cjs" && [...LATER, ...BROWSER].includes(name)) continue;
    const built = await build({
      entryPoints: [`${here}/src/${source}.ts`],
      bundle: true,
      format,
      target: "es2022",
      outfile: `${dist}/${name}.js`,
      external: [...LATER, ...(BROWSER.includes(name) ? ["index"] : [])].map((other) => `./${other}.js`),
      mangleProps: new RegExp(`^(_.+|${INTERNALS.join("|")})$`),
      mangleCache,
      minify: name !== "node", // there a comment for bundlers is to stay
      sourcemap: true,
      legalComments: "inline",
      plugins: [privates],
      write: false,
      logLevel: "warning",
    });
    Object.assign(mangleCache, built.mangleCache);
    const [map, code] = built.outputFiles.map(({ text }) => text);
    const file = `${name}.${format === "esm" ? "js" : "cjs"}`;
    const small = await minify(code, { module: true, compress: { passes: 3, unsafe_arrows: true, unsafe_methods: true, pure_getters: true }, format: { comments: /webpackIgnore|vite-ignore/ }, sourceMap: { content: map } });
    writeFileSync(`${dist}/${file}`, small.code);
    writeFileSync(`${dist}/${file}.map`, small.map);
  }
}

copyFileSync(`${here}/node_modules/@msgpack/msgpack/LICENSE`, `${dist}/msgpack.LICENSE`); // of what is built into msgpack.js

execFileSync(process.execPath, [`${here}/node_modules/typescript/bin/tsc`, "--project", here, "--noEmit", "false", "--emitDeclarationOnly", "--declaration", "--rootDir", `${here}/src`, "--outDir", dist], { stdio: "inherit" });
for (const name of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
  if (!name.endsWith(".d.ts")) continue;
  const text = readFileSync(`${dist}/${name}`, "utf8");
  writeFileSync(`${dist}/${name.replace(/\.d\.ts$/, ".d.cts")}`, text.replace(/(from |import\()("\.[^"]+)\.js"/g, '$1$2.cjs"'));
}
