/** The package as it is shipped: what it weighs, what it offers, and that it leaves programs alone when it is done. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { Server, hubAt, story, take } from "./world.mjs";

const run = promisify(execFile);
const home = new URL("..", import.meta.url).pathname;
const dist = (name) => readFileSync(`${home}dist/${name}`);
const gzipped = (...names) => names.reduce((sum, name) => sum + gzipSync(dist(name), { level: 9 }).length, 0);

const CORE_MAX = 6000;
const MSGPACK_MAX = 13_000;

let server;
let project;

before(async () => {
  server = await Server.start();
  project = mkdtempSync(join(tmpdir(), "topichub-js-"));
  mkdirSync(join(project, "node_modules", "@topichub"), { recursive: true });
  symlinkSync(home, join(project, "node_modules", "@topichub", "client"));
});

after(async () => {
  await server?.stop();
  rmSync(project, { recursive: true });
});

test("it weighs no more than it may", (t) => {
  const [core, all] = [gzipped("index.js"), gzipped("index.js", "msgpack.js")];
  t.diagnostic(`core ${core} bytes, with msgpack ${all}; when they are needed: fallback ${gzipped("fallback.js")}, node ${gzipped("node.js")}`);
  assert.ok(core <= CORE_MAX, `the core is ${core} bytes, at most ${CORE_MAX}`);
  assert.ok(all <= MSGPACK_MAX, `with msgpack it is ${all} bytes, at most ${MSGPACK_MAX}`);
});

test("ES modules and CommonJS offer the same", async () => {
  const require = createRequire(import.meta.url);
  for (const name of ["index", "msgpack"]) assert.deepEqual(Object.keys(require(`../dist/${name}.cjs`)).toSorted(), Object.keys(await import(`../dist/${name}.js`)).toSorted());
});

test("source maps show where in the source an error comes from", async () => {
  const program = 'const hub = connect("http://127.0.0.1:1"); hub.publish("a", 1).catch(({ stack }) => { console.log(stack); hub.close(); });';
  for (const [type, load] of [["module", 'import { connect } from "@topichub/client";'], ["commonjs", 'const { connect } = require("@topichub/client");']]) {
    const { stdout } = await run(process.execPath, ["--enable-source-maps", `--input-type=${type}`, "--eval", `${load} ${program}`], { cwd: project });
    assert.match(stdout, /not_connected|wait for open/);
    assert.match(stdout, /src\/hub\.ts:[0-9]+:[0-9]+/, type);
  }
});

story("topics have types, in modules of both kinds", async () => {
  const program = (how) => `${how}
interface Topics { "ticker.AAPL": { price: number }; [chat: \`chat.\${string}\`]: { text: string } }
async function main(): Promise<void> {
  const hub = connect<Topics>("http://127.0.0.1:1", { codec: msgpack });
  for await (const { data, offset } of hub.subscribe("ticker.AAPL", { replay: { last: 1 } })) { const sum: number = data.price + offset; void sum; }
  for await (const event of hub.subscribe("chat.*").events()) if (event.op === "message") { const text: string = event.data.text; void text; }
  hub.subscribe("chat.lobby").addEventListener("message", ({ detail }) => { const text: string = detail.data.text; void text; });
  const { offset } = await hub.publish("chat.lobby", { text: "hello" }); void offset;
  // @ts-expect-error no such payload
  await hub.publish("chat.lobby", { price: 1 });
  // @ts-expect-error no such topic
  hub.subscribe("nonsense");
  const free = connect("http://127.0.0.1:1"); const anything: string = (await free.history("a")).messages[0].data.whatever; void anything;
}
void main;
`;
  writeFileSync(join(project, "package.json"), "{}");
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions: { noEmit: true, strict: true, target: "es2022", lib: ["es2023", "dom", "dom.iterable"], types: [], module: "nodenext" } }));
  writeFileSync(join(project, "esm.mts"), program('import { connect } from "@topichub/client"; import { msgpack } from "@topichub/client/msgpack"; import { connectShared } from "@topichub/client/shared-worker"; void connectShared;'));
  writeFileSync(join(project, "cjs.cts"), program('import { connect } from "@topichub/client"; import { msgpack } from "@topichub/client/msgpack";'));
  await run(process.execPath, [`${home}node_modules/typescript/bin/tsc`, "--project", "."], { cwd: project }).catch(({ stdout }) => assert.fail(stdout));
});

story("the sample back end publishes, and ends by itself", async () => {
  const messages = hubAt(server.host).subscribe("ticker.AAPL");
  await messages.ready;
  const { stdout, stderr } = await run(process.execPath, [`${home}examples/publisher.mjs`, `http://${server.host}`, "2"]);
  assert.match(stdout, /^1: [\d.]+, to 1\n2: [\d.]+, to 1\n$/);
  assert.match(stderr, /open/);
  assert.deepEqual((await take(messages, 2)).map(({ data }) => data.number), [1, 2]);
});

story("a program that closes its hub, or never reached one, ends by itself", async () => {
  const program = 'import { connect } from "@topichub/client"; const hub = connect(process.argv[2]); hub.subscribe("a.b"); setTimeout(() => hub.close(), 300);';
  writeFileSync(join(project, "ends.mjs"), program);
  for (const url of [`http://${server.host}`, "http://127.0.0.1:9"]) await run(process.execPath, ["ends.mjs", url], { cwd: project, timeout: 10_000 });
});

story("the first lines of the README do what they say", async () => {
  const [, lines] = /```js\n(.*?)```/s.exec(readFileSync(`${home}README.md`, "utf8"));
  const writer = hubAt(server.host, { offline: "queue" });
  await writer.publish("ticker.IBM", { price: 5 });
  writeFileSync(join(project, "readme.mjs"), lines.replace("https://hub.example.org", `http://${server.host}`).replace(/^\}$/m, "  break;\n}\nhub.close();"));
  const { stdout } = await run(process.execPath, ["readme.mjs"], { cwd: project, timeout: 10_000 });
  assert.match(stdout, /^ticker\.(IBM 5|AAPL [\d.]+)\n$/);
});
