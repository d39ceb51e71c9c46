/**
 * The pages in a real Chromium, against `topichub serve --demo`. Each test is a visitor's story; it waits for
 * conditions, never for a time, and fails on any console error, failed request or answer of 400 and above.
 *
 *   TOPICHUB_URL  a server that runs            (default: TOPICHUB_BIN is started)
 *   CHROMIUM      the browser                   (default /usr/bin/chromium)
 *   SHOTS         a directory for screenshots   (default: none are taken)
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Server } from "../node/server.mjs";

const DEADLINE_MS = 20_000;
const DESKTOP = { viewport: { width: 1280, height: 860 } };
const PHONE = { viewport: { width: 375, height: 812 }, isMobile: true, hasTouch: true };
const PAGES = ["index", "ticker", "scoreboard", "chat", "clock"];

let browser;
let started; // the server, if it is ours
let origin;

before(async () => {
  if (!process.env.TOPICHUB_URL) started = await Server.start(["--demo"]);
  origin = started ? `http://${started.host}` : process.env.TOPICHUB_URL.replace(/\/$/, "");
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ],
  });
});

after(async () => {
  await browser?.close();
  await started?.stop();
});

/** One visitor: opens pages with `open`, and at the end has met no problem. */
function story(name, tell, options = DESKTOP) {
  test(name, { timeout: 4 * DEADLINE_MS }, async () => {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(DEADLINE_MS);
    const problems = [];
    const open = async (path) => {
      const page = await context.newPage();
      page.on("console", (message) => message.type() === "error" && problems.push(`console: ${message.text()}`));
      page.on("pageerror", (error) => problems.push(`page: ${error.message}`));
      page.on("requestfailed", (request) => problems.push(`failed: ${request.url()}`));
      page.on("response", (response) => response.status() >= 400 && problems.push(`${response.status()}: ${response.url()}`));
      await page.goto(`${origin}/${path}`);
      return page;
    };
    try {
      await tell(open);
      assert.deepEqual(problems, []);
    } catch (error) {
      if (problems.length) error.message += `\nthe page also reported:\n${problems.join("\n")}`;
      throw error;
    } finally {
      await context.close();
    }
  });
}

/** Waits until the text of an element satisfies a condition, and returns it. */
async function textOf(page, selector, condition) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const text = await page.locator(selector).first().textContent();
    if (condition(text)) return text;
    assert.ok(Date.now() < deadline, `${selector} still says ${JSON.stringify(text)}`);
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
}

/** As `curl -d` does it, if no other type is named. */
async function curl(topic, body, type = "application/x-www-form-urlencoded") {
  const headers = { "content-type": type };
  const response = await fetch(`${origin}/topics/${topic}`, { method: "POST", headers, body });
  assert.ok(response.ok, `POST /topics/${topic} answered ${response.status}`);
}

const connected = (page) => textOf(page, ".state", (text) => text === "connected");
const something = (text) => text.trim() !== "" && text.trim() !== "–";

story("the ticker moves and draws itself", async (open) => {
  const page = await open("ticker.html");
  await connected(page);
  const price = await textOf(page, "#symbols .price", something);
  await textOf(page, "#symbols .price", (text) => text !== price);
  await page.waitForFunction(() => document.querySelector("#symbols polyline").points.numberOfItems >= 3);
  const box = await page.evaluate(() => {
    const { width, height } = document.querySelector("#symbols polyline").getBBox();
    return { width, height };
  });
  assert.ok(box.width > 1 && box.height > 1, `the plot is a line of ${box.width} × ${box.height}`);
  assert.ok((await page.locator("#symbols tr").count()) > 1, "several symbols");
});

story("the ticker shows how busy the machine is", async (open) => {
  const page = await open("ticker.html");
  for (const id of ["cpu", "memory", "received", "sent"]) assert.match(await textOf(page, `#${id}`, something), /\d/);
  await textOf(page, "#rate", (text) => /^[1-9]\d* messages\/s$/.test(text));
});

story("the scoreboard changes when somebody runs curl", async (open) => {
  const page = await open("scoreboard.html");
  await connected(page);
  assert.match(await page.locator("[data-origin]").textContent(), new RegExp(`${new URL(origin).host}/topics/sports\\.demo$`));
  await page.locator(".match").first().waitFor(); // the demo's own matches: we are subscribed

  await curl("sports.demo", '{"home_team":"Reds","away_team":"Blues","home":0,"away":0}');
  const card = '.match[data-topic="sports.demo"]';
  const [home, away] = [`${card} .side:nth-of-type(2) .score`, `${card} .side:nth-of-type(3) .score`];
  await textOf(page, away, (text) => text === "0");
  // The demo's matches have goals too, which are announced in the same place.
  await page.evaluate(() => {
    const place = document.querySelector("#announcement");
    window.announced = [];
    new MutationObserver(() => window.announced.push(place.textContent)).observe(place, { childList: true, characterData: true, subtree: true });
  });
  await curl("sports.demo", '{"home":3}');
  await textOf(page, home, (text) => text === "3");
  assert.equal(await page.locator(away).textContent(), "0");
  assert.equal(await page.locator(`${card} .team`).first().textContent(), "Reds");
  await page.waitForFunction(() => window.announced.includes("Reds 3, Blues 0"));
});

story("the scoreboard survives whatever is published", async (open) => {
  const page = await open("scoreboard.html");
  await connected(page);
  await page.locator(".match").first().waitFor();
  const strange = ['"text"', "null", "[1,2]", "7", '{"home":{"a":1},"event":"<img src=x onerror=alert(1)>"}'];
  for (const body of strange) await curl("sports.demo.strange", body);
  await curl("sports.demo.strange", "bytes", "application/octet-stream");
  await curl("sports.demo.strange", '{"away":2}');
  const card = '.match[data-topic="sports.demo.strange"]';
  await textOf(page, `${card} .side:nth-of-type(3) .score`, (text) => text === "2");
  assert.equal(await page.locator(`${card} img`).count(), 0);
});

story("two visitors chat, one in JSON and one in MessagePack", async (open) => {
  const room = `test-${Date.now()}`;
  const ann = await open(`chat.html?room=${room}`);
  const bob = await open(`chat.html?room=${room}`);
  let frames = [];
  bob.on("websocket", (socket) => {
    frames = []; // of the newest connection
    socket.on("framereceived", ({ payload }) => frames.push(payload));
  });
  await bob.getByText("MessagePack", { exact: true }).click();
  await bob.waitForFunction(() => location.search.includes("pubsub.msgpack"));
  await connected(ann);
  await connected(bob);

  const say = async (page, name, text) => {
    await page.fill("#name", name);
    await page.fill("#text", text);
    await page.click("#say button");
    await textOf(page, "#log", (log) => log.includes(text)); // the echo: who hears himself has entered the room
  };
  await say(ann, "Ann", "anybody here?");
  await say(bob, "Bob", "Hello from MessagePack ✓");
  await textOf(ann, "#log", (log) => log.includes("Bob") && log.includes("Hello from MessagePack ✓"));
  await say(ann, "Ann", "<b>Hello</b> from JSON");
  await textOf(bob, "#log", (log) => log.includes("Ann") && log.includes("<b>Hello</b> from JSON"));

  assert.equal(await bob.locator("#log .mine").count(), 1);
  assert.equal(await bob.locator("#log b").count(), 0);
  assert.ok(frames.length > 0 && frames.every((frame) => typeof frame !== "string"), "Bob receives binary frames only");
});

story("the clock ticks, the echo returns, and closing says its code", async (open) => {
  const page = await open("clock.html");
  await connected(page);
  const session = await textOf(page, "#session", something);
  const time = await textOf(page, "#time", (text) => /\d/.test(text));
  await textOf(page, "#time", (text) => text !== time);

  await page.fill("#text", "Is anybody there?");
  await page.click("#send");
  await textOf(page, "#answer", (text) => /^“Is anybody there\?” came back after \d+\.\d ms$/.test(text));

  await page.click("#close");
  await textOf(page, ".state", (text) => text === "closed");
  assert.equal(await page.locator("#close-code").textContent(), "1000");
  assert.ok(await page.locator("#send").isDisabled());

  await page.click("#open");
  await connected(page);
  await textOf(page, "#session", (text) => text !== session);
  await page.fill("#text", "again");
  await page.click("#send");
  await textOf(page, "#answer", (text) => text.startsWith("“again” came back"));
});

story("the landing page runs its own three lines", async (open) => {
  const page = await open("");
  await page.click("#run");
  await textOf(page, "#output", (text) => text.includes('"op":"message"') && text.includes('"ticker.'));
  await page.click("#run");
  await textOf(page, "#output", (text) => text.includes("closed with code 100"));
  const lines = await page.locator("#snippet").textContent();
  const frame = await page.evaluate(
    (source) => new Promise((resolve) => new Function("console", source)({ log: resolve })),
    lines,
  );
  assert.equal(JSON.parse(frame).op, "welcome"); // pasted into a console, they do what they promise
});

story("hub.js reads patterns and close codes as the protocol says", async (open) => {
  const page = await open("");
  const answers = await page.evaluate(async () => {
    const { matches, verdictOf } = await import("/hub.js");
    const cases = [
      ["a.b", "a.b", true],
      ["a.b", "a.b.c", false],
      ["a.*", "a.b", true],
      ["a.*", "a", false],
      ["a.*", "a.b.c", false],
      ["a.>", "a", false],
      ["a.>", "a.b.c", true],
      ["*.b.>", "a.b.c", true],
      [">", "a", true],
    ];
    return {
      wrong: cases.filter(([pattern, topic, expected]) => matches(pattern, topic) !== expected),
      verdicts: [4001, 4104, 4201, 1003, 1006, 1012].map(verdictOf),
    };
  });
  assert.deepEqual(answers, { wrong: [], verdicts: ["never", "later", "now", "never", "later", "later"] });
});

for (const name of PAGES) {
  story(
    `${name} fits a phone`,
    async (open) => {
      const page = await open(`${name}.html`);
      await settle(page, name);
      const { content, screen } = await page.evaluate(() => ({ content: document.documentElement.scrollWidth, screen: innerWidth }));
      assert.ok(content <= screen, `${content} px of content on ${screen} px`);
      await shoot(page, `${name}-phone`);
    },
    PHONE,
  );
}

if (process.env.SHOTS) {
  for (const [look, options] of Object.entries({ desktop: DESKTOP, dark: { ...DESKTOP, colorScheme: "dark" } })) {
    for (const name of PAGES) {
      story(`${name} has its picture taken (${look})`, async (open) => {
        const page = await open(`${name}.html`);
        await settle(page, name);
        await shoot(page, `${name}-${look}`);
      }, options);
    }
  }
}

/** Waits until a page shows what it is for. */
async function settle(page, name) {
  if (name !== "index") await connected(page);
  if (name === "ticker") await page.waitForFunction(() => document.querySelector("#symbols polyline")?.points.numberOfItems >= 5);
  if (name === "scoreboard") await page.locator(".match").first().waitFor();
  if (name === "clock") await textOf(page, "#time", (text) => /\d/.test(text));
}

async function shoot(page, name) {
  if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`) });
}
