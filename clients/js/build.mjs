/** Builds `dist`: for each entry an ES module, a CommonJS module, and types for both. What is built is minified, and what its source maps show is not. */

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const here = import.meta.dirname;
rmSync(`${here}/dist`, { recursive: true, force: true });

const entryPoints = ["index", "msgpack"].map((name) => `${here}/src/${name}.ts`);
const shared = { entryPoints, bundle: true, minify: true, sourcemap: true, target: "es2022", outdir: `${here}/dist`, mangleProps: /^_./, legalComments: "inline", logLevel: "warning" };
// Internals have one short name in all entries.
const { mangleCache } = await build({ ...shared, format: "esm", mangleCache: {} });
await build({ ...shared, format: "cjs", outExtension: { ".js": ".cjs" }, mangleCache });

execFileSync(process.execPath, [`${here}/node_modules/typescript/bin/tsc`, "--project", here, "--noEmit", "false", "--emitDeclarationOnly", "--declaration", "--rootDir", `${here}/src`, "--outDir", `${here}/dist`], { stdio: "inherit" });
for (const name of readdirSync(`${here}/dist`, { recursive: true, encoding: "utf8" })) {
  if (!name.endsWith(".d.ts")) continue;
  const text = readFileSync(`${here}/dist/${name}`, "utf8");
  writeFileSync(`${here}/dist/${name.replace(/\.d\.ts$/, ".d.cts")}`, text.replace(/(from |import\()("\.[^"]+)\.js"/g, '$1$2.cjs"'));
}
