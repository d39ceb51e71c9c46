/** The client in Node, Deno and Bun. The latter two are those of tests/runtimes; DENO and BUN name others. Deno has only what the web has; Bun brings a `ws` of its own. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { Cut } from "./cut.mjs";
import { DEADLINE_MS, Server, endLater, serverOf } from "./world.mjs";

const installed = createRequire(new URL("../../../tests/runtimes/", import.meta.url));
const { optionalDependencies } = JSON.parse(readFileSync(new URL("../../../tests/runtimes/package.json", import.meta.url), "utf8"));

/** The executable of the package for this machine. */
function find(scope, path) {
  const [name] = Object.keys(optionalDependencies).filter((name) => name.startsWith(scope) && existsSync(join(installed.resolve.paths(name)[0], name)));
  return name && join(installed.resolve.paths(name)[0], name, path);
}

const RUNTIMES = {
  node: [process.execPath],
  deno: [process.env.DENO ?? find("@deno/", "deno"), "run", "--no-config", "--no-lock", "--allow-net=127.0.0.1", "--allow-read"],
  bun: [process.env.BUN ?? find("@oven/", "bin/bun"), "run"],
};
const wanted = [
  { way: "websocket", offset: 1, got: [{ n: 1 }, [1, 2, 3], true] },
  { way: "websocket", offset: 1, got: [{ n: 1 }, [1, 2, 3], true] },
  { way: "events", offset: 1, got: [{ n: 1 }, [1, 2, 3], true] },
];
const server = serverOf(Server);

for (const [name, [command, ...words]] of Object.entries(RUNTIMES)) {
  test(`${name} connects, subscribes, publishes, and goes on after a cut`, { timeout: 3 * DEADLINE_MS, skip: !command && `there is no ${name} for this machine` }, async () => {
    const { host } = await server();
    const cut = await Cut.before(host);
    const directory = mkdtempSync(join(tmpdir(), "topichub-js-"));
    endLater(() => (cut.stop(), rmSync(directory, { recursive: true })));
    cpSync(new URL("../dist/", import.meta.url), directory, { recursive: true });
    cpSync(new URL("../../../tests/runtimes/program.mjs", import.meta.url), join(directory, "program.mjs"));
    writeFileSync(join(directory, "package.json"), '{"type":"module"}');
    if (name === "node") cpSync(new URL("../node_modules/ws/", import.meta.url), join(directory, "node_modules/ws"), { recursive: true });
    const child = spawn(command, [...words, join(directory, "program.mjs"), cut.host, host, name], { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
    endLater(() => child.kill("SIGKILL"));
    let complaints = "";
    child.stderr.on("data", (chunk) => (complaints += chunk));
    let last;
    for await (const line of createInterface(child.stdout)) {
      last = line;
      if (line === "cut") cut.now();
    }
    assert.equal(complaints, "");
    assert.deepEqual(JSON.parse(last), wanted);
    assert.equal(child.exitCode ?? (await new Promise((resolve) => child.on("exit", resolve))), 0);
  });
}
