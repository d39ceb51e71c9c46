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
const INTERNALS = ["takers", "wanted", "asked", "room", "policy", "enter", "leave", "receive", "live", "known", "ends", "bare", "feeds", "forget", "opened", "lost", "ask", "messageBytesMax", "welcomed", "command", "seen", "tick", "said", "refused", "link", "goodbye", "settle", "fail", "say", "left", "top", "worked", "way", "waiting", "own", "mouth", "waitingBytes", "shut", "owner"];

/** Private names as properties that are mangled, which compress better: a tenth of a kilobyte in `index.js`. */
const withoutPrivate = (path) => readFileSync(path, "utf8").replace(/(?<![\w"'`/])#(?=[a-z]\w*)/g, "_");
const privates = {
  name: "privates",
  setup: ({ onLoad }) => onLoad({ filter: /clients\/js\/src\/.*\.ts$/ }, ({ path }) => ({ loader: "ts", contents: withoutPrivate(path) })),
};

/**
 * A letter for each of them; names that no file has both of can have the same, as an object's are all in the file of its class. That is another
 * tenth. Those that are inherited are different from all in the files of the classes that have them.
 */
function letters() {
  const family = (file) => (file.startsWith("transport/") ? "transport" : file);
  const uses = new Map();
  for (const file of readdirSync(`${here}/src`, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".ts")) continue;
    for (const [name] of withoutPrivate(`${here}/src/${file}`).matchAll(/(?<![\w"'])_[a-z]\w*/g)) {
      const { count, files } = uses.get(name) ?? { count: 0, files: new Set() };
      uses.set(name, { count: count + 1, files: files.add(family(file)) });
    }
  }
  const taken = new Map([..."etsihroanlcfpdubwgmyvkxqjzETSIHROANLCFPDUBWGMYVKXQJZ"].map((letter) => [letter, new Set()]));
  const everywhere = new Set([...uses.values()].flatMap(({ files }) => [...files]));
  const cache = {};
  for (const [name, { files }] of [...uses].sort(([, a], [, b]) => b.count - a.count)) {
    const own = name === "_emit" ? everywhere : files;
    const [letter, by] = [...taken].find(([, by]) => ![...own].some((file) => by.has(file)));
    for (const file of own) by.add(file);
    cache[name] = letter;
  }
  return cache;
}

/** What is left undone is what gzip does better. */
const COMPRESS = { passes: 3, unsafe_arrows: true, unsafe_methods: true, pure_getters: true, arrows: false, if_return: false, lhs_constants: false, reduce_funcs: false };

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
const mangleCache = letters();
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
    const small = await minify(code, { module: true, compress: COMPRESS, format: { comments: /webpackIgnore|vite-ignore/ }, sourceMap: { content: map, url: `${file}.map` } });
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
