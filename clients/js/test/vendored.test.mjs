/** The pages of the server load this client as it was built. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const vendored = new URL("../../web/vendor/topichub/", import.meta.url);

test("the pages have the client as it is built now", () => {
  const modules = readdirSync(vendored).filter((name) => name.endsWith(".js"));
  assert.ok(modules.includes("index.js") && modules.includes("shared-worker.js"), modules.join());
  for (const name of modules) {
    const built = readFileSync(new URL(`../dist/${name}`, import.meta.url), "utf8").replace(/^\/\/# sourceMappingURL=.*\n?/m, "");
    assert.equal(readFileSync(new URL(name, vendored), "utf8"), built, `${name}: run \`make web-client\``);
  }
});
