/** The page of the HTTP API in a real Chromium, against a server of its own. Set up as pages.test.mjs is. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Server } from "../node/server.mjs";

const DEADLINE_MS = 20_000;

let browser;
let server;

before(async () => {
  server = await Server.start([]);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
  });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const shot = (page, name) => process.env.SHOTS && page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), fullPage: true });

test("every operation is shown and can be tried by keyboard, on a desk and on a phone", { timeout: 4 * DEADLINE_MS }, async () => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(DEADLINE_MS);
  const problems = [];
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.message));
  try {
    await page.goto(`http://${server.host}/api`);
    assert.match(page.url(), /\/api\/$/);
    const description = await (await fetch(`http://${server.host}/openapi.json`)).json();
    const described = Object.entries(description.paths).flatMap(([path, item]) => Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`));
    await page.locator("#part-shapes").waitFor();
    const shown = await page.locator("summary:has(b)").evaluateAll((all) => all.map((one) => `${one.children[0].textContent} ${one.children[1].textContent}`));
    assert.deepEqual(shown.toSorted(), described.toSorted());

    // By keyboard: a topic that is none, then one.
    await page.locator("#publish > summary").focus();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.type("a/b c");
    await page.locator("#publish textarea").fill('{"greeting": "hello"}');
    await page.locator("#publish").getByRole("button", { name: "Send POST" }).press("Enter");
    await page.locator("#publish .result", { hasText: "invalid_topic" }).waitFor();
    await page.locator("#publish input").first().fill("a/b.c");
    await page.locator("#publish textarea").press("Tab");
    await page.keyboard.press("Enter");
    await page.locator("#publish .result", { hasText: '"topic": "a/b.c"' }).waitFor();
    await shot(page, "api");

    const unnamed = await page.locator("input, select, textarea, button").evaluateAll((all) =>
      all.filter((node) => !node.labels?.length && !node.textContent.trim()).map((node) => node.outerHTML));
    assert.deepEqual(unnamed, []);
    const ids = await page.locator("[id]").evaluateAll((all) => all.map((node) => node.id));
    assert.equal(new Set(ids).size, ids.length, "each id is there once");

    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 375, height: 812 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 375, `nothing is wider than a phone: ${width}`);
    await shot(page, "api-phone");
    assert.deepEqual(problems.filter((problem) => !problem.includes("400 (Bad Request)")), []);
  } finally {
    await context.close();
  }
});
