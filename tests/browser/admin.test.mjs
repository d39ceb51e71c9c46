/**
 * The dashboard in a real Chromium, against a hub that asks for tokens (`examples/authority`). Set up as pages.test.mjs is;
 * AUTHORITY is the example.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const DEADLINE_MS = 20_000;
const DESKTOP = { viewport: { width: 1280, height: 900 } };
const PHONE = { viewport: { width: 375, height: 812 }, isMobile: true, hasTouch: true };
const EXAMPLE = process.env.AUTHORITY ?? join(dirname(process.env.TOPICHUB_BIN ?? "target/debug/topichub"), "examples", "authority");

let browser;
let hub;
let origin;

before(async () => {
  hub = spawn(EXAMPLE, ["127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface(hub.stdout)) {
    origin = /http:\/\/\S+/.exec(line)[0];
    break;
  }
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-renderer-backgrounding"],
  });
});

after(async () => {
  await browser?.close();
  hub?.kill();
});

/** One operator at the dashboard, who at the end has met no problem. */
function story(name, tell, options = DESKTOP) {
  test(name, { timeout: 4 * DEADLINE_MS }, async () => {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(DEADLINE_MS);
    const problems = [];
    const page = await context.newPage();
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    page.on("pageerror", (error) => problems.push(error.message));
    try {
      await page.goto(`${origin}/admin/`);
      await tell(page, context);
      assert.deepEqual(problems, []);
    } finally {
      await context.close();
    }
  });
}

async function signIn(page, token = "operator") {
  await page.getByLabel("Token or API key").fill(token);
  await page.keyboard.press("Enter");
  await page.locator("#board").waitFor({ state: "visible" });
}

/** A client of its own, as a session to be seen. */
async function client(context, token = "operator") {
  const page = await context.newPage();
  await page.goto(`${origin}/index.html`);
  return page.evaluate(async (token) => {
    const { connect } = await import("./vendor/topichub/index.js");
    const hub = (window.hub = connect("/ws", { token }));
    await new Promise((open) => hub.addEventListener("state", ({ detail }) => ((window.code = detail.code), detail.state === "open" && open())));
    await hub.presence("anything").catch(() => {}); // answered behind the token
    return hub.session;
  }, token).then((session) => ({ page, session }));
}

const shot = (page, name) => process.env.SHOTS && page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), fullPage: true });

async function says(page, selector, pattern) {
  await page.waitForFunction(([selector, source]) => new RegExp(source).test(document.querySelector(selector)?.textContent), [selector, pattern.source]);
}

story("who shows no token or a wrong one sees nothing and is told why", async (page) => {
  await page.getByLabel("Token or API key").fill("nonsense");
  await page.keyboard.press("Enter");
  await says(page, "#problem", /does not know this token/);
  await page.getByLabel("Token or API key").fill("reader");
  await page.keyboard.press("Enter");
  await says(page, "#problem", /may not see \$sys\.stats/);
  assert.equal(await page.locator("#board").isVisible(), false);
  assert.ok(!page.url().includes("reader"), "no token in an address");
  assert.deepEqual(await page.evaluate(() => Object.values(sessionStorage)), []);
});

story("an operator sees what happens as it happens", async (page, context) => {
  await signIn(page);
  const { page: publisher } = await client(context);
  await publisher.evaluate(() => {
    window.hub.subscribe("ticker.>");
    setInterval(() => {
      for (const name of ["AAPL", "AAPL", "IBM"]) window.hub.publish(`ticker.${name}`, { price: Math.round(Math.random() * 1000) }).catch(() => {});
    }, 50);
  });
  await says(page, "#top tr:first-child", /ticker\.AAPL/);
  await says(page, "#gauges", /Deliveries[1-9]\d*\/s/);
  await page.waitForFunction(() => document.querySelector("#plots polyline")?.getAttribute("points").split(" ").length > 3);
  const lines = await page.locator("#plots figure").count();
  assert.equal(lines, 4);

  // By keyboard from the list to the messages.
  await page.locator("#top button").first().focus();
  await page.keyboard.press("Enter");
  await page.locator("#tail li").nth(20).waitFor();
  await says(page, "#position", /At offset \d+ of epoch/);
  await page.getByRole("button", { name: "Pause" }).click();
  assert.equal(await page.getByRole("button", { name: "Pause" }).getAttribute("aria-pressed"), "true");
  await page.getByLabel("Publish, as JSON").fill('{"price": 1, "note": "by hand"}');
  await page.getByRole("button", { name: "Publish" }).click();
  await says(page, "#published", /Published at offset \d+, to 2 subscriptions/);
  await page.getByLabel("Publish, as JSON").fill("{nonsense");
  await page.getByRole("button", { name: "Publish" }).click();
  await says(page, "#published", /Not published/);
  await shot(page, "admin");
});

story("sessions are shown as they come and go, and the own one cannot be ended by mistake", async (page, context) => {
  const rowOf = (session) => page.locator(`tr[data-session="${session}"]`);
  const early = await client(context, "reader");
  await signIn(page);
  await rowOf(early.session).waitFor(); // it is in the list
  const own = page.locator("#rows tr", { hasText: "This page" });
  assert.equal(await own.getByRole("button").isDisabled(), true);

  // Who comes later is told, from the moment on at which the server knows that somebody watches.
  let late;
  for (let came = false; !came; ) {
    await late?.page.close();
    late = await client(context, "reader");
    came = await rowOf(late.session).waitFor({ timeout: 3000 }).then(() => true, () => false);
  }
  const row = rowOf(late.session);
  assert.match(await row.textContent(), /rita.*127\.0\.0\.1.*pubsub\.json/);
  await late.page.close();
  await row.waitFor({ state: "detached" });

  const button = rowOf(early.session).getByRole("button");
  assert.equal(await button.getAttribute("aria-label"), "Disconnect rita");
  await button.click();
  assert.equal(await button.textContent(), "Really?");
  await button.blur();
  assert.equal(await button.textContent(), "Disconnect");
  await button.click();
  await button.click();
  await says(page, "#told", /Disconnected/);
  await early.page.waitForFunction(() => window.code === 4005);
  await page.getByLabel("Of this user only").fill("olga");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => [...document.querySelectorAll("#rows th")].every((name) => name.textContent === "olga"));
  await shot(page, "admin-sessions");
});

story("it is in order for a keyboard and a screen reader", async (page) => {
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the figures");
  await signIn(page);
  const unnamed = await page.evaluate(() => {
    const named = (node) => node.labels?.length || node.ariaLabel || node.textContent.trim() || node.getAttribute("aria-labelledby");
    return [...document.querySelectorAll("button, input, textarea, a, meter, [tabindex='0']")].filter((node) => !named(node)).map((node) => node.outerHTML);
  });
  assert.deepEqual(unnamed, []);
  const ids = await page.evaluate(() => [...document.querySelectorAll("[id]")].map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
  const levels = await page.evaluate(() => [...document.querySelectorAll("h1, h2, h3")].map(({ tagName }) => Number(tagName[1])));
  levels.reduce((before, level) => (assert.ok(level <= before + 1), level), 0);
  assert.ok((await page.getByRole("alert").count()) === 1 && (await page.getByRole("status").count()) >= 2);
});

for (const colorScheme of ["light", "dark"]) {
  story(`it fits a phone, ${colorScheme}`, async (page) => {
    await signIn(page);
    await page.waitForFunction(() => document.querySelector("#plots polyline")?.getAttribute("points").split(" ").length > 2);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 375, `${width} pixels wide`);
    await shot(page, `admin-phone-${colorScheme}`);
  }, { ...PHONE, colorScheme });
}

story("a token that is kept is there after a reload, and gone after signing out", async (page) => {
  await page.getByLabel("Keep it until this tab is closed").check();
  await signIn(page);
  await page.reload();
  await page.locator("#board").waitFor({ state: "visible" });
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.locator("#signin").waitFor({ state: "visible" });
  assert.equal(await page.locator("#board").isVisible(), false);
  assert.deepEqual(await page.evaluate(() => Object.values(sessionStorage)), []);
});
