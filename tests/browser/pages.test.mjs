/**
 * The pages in a real Chromium, against `topichub serve --demo`. Each test is a visitor's story; it waits for
 * conditions, never for a time, and fails on any console error, failed request or answer of 400 and above.
 *
 *   TOPICHUB_URL  a server that runs            (default: TOPICHUB_BIN is started)
 *   CHROMIUM      the browser                   (default /usr/bin/chromium)
 *   SHOTS         a directory for screenshots   (default: none are taken)
 */

import assert from "node:assert/strict";
import { createServer, connect as dial } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Server } from "../node/server.mjs";

const DEADLINE_MS = 20_000;
const DESKTOP = { viewport: { width: 1280, height: 860 } };
const PHONE = { viewport: { width: 375, height: 812 }, isMobile: true, hasTouch: true };
const PAGES = ["index", "ticker", "scoreboard", "chat", "notifications", "clock"];

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

/**
 * One visitor: opens pages with `open`, and at the end has met no problem but those that are `tolerated`, for browsers
 * report as an error of the page that there is no network.
 */
function story(name, tell, { tolerated = /^$/, ...options } = DESKTOP) {
  test(name, { timeout: 4 * DEADLINE_MS }, async () => {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(DEADLINE_MS);
    const problems = [];
    const met = (problem) => tolerated.test(problem) || problems.push(problem);
    const open = async (path, from = origin) => {
      const page = await context.newPage();
      page.on("console", (message) => message.type() === "error" && met(`console: ${message.text()}`));
      page.on("pageerror", (error) => met(`page: ${error.message}`));
      page.on("requestfailed", (request) => met(`failed: ${request.url()}`));
      page.on("response", (response) => response.status() >= 400 && met(`${response.status()}: ${response.url()}`));
      page.sockets = [];
      page.on("websocket", (socket) => page.sockets.push(messagesOf(socket)));
      await page.goto(`${from}/${path}`);
      return page;
    };
    try {
      await tell(open, context);
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

/** What comes over one WebSocket in JSON: `{ topic, offset, data }` of each message, and gaps. */
function messagesOf(socket) {
  const got = [];
  socket.on("framereceived", ({ payload }) => {
    if (typeof payload !== "string") return;
    const push = JSON.parse(payload);
    if (push.op === "message" || push.op === "gap") got.push(push);
  });
  return got;
}

/** The offsets that a page has got of a topic, over all its connections. */
const offsetsOf = (page, topic) => page.sockets.flat().filter((push) => push.op === "message" && push.topic === topic).map(({ offset }) => offset);

const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** Publishes one message for each entry, in one request. */
async function publish(topic, entries) {
  const body = JSON.stringify(entries.map((data) => ({ topic, data })));
  const response = await fetch(`${origin}/publish`, { method: "POST", headers: { "content-type": "application/json" }, body });
  const answers = await response.json();
  assert.ok(response.ok && answers.every(({ offset }) => offset > 0), `POST /publish answered ${response.status}`);
}

/** A topic of this run only. */
const fresh = (prefix) => `${prefix}-${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;

/** A wire to the server that can be cut: what is connected ends without a word, and nothing new gets through. */
class Wire {
  #ends = new Set();
  #whole = true;
  #server = createServer((near) => {
    if (!this.#whole) return near.destroy();
    const far = dial(Number(new URL(this.target).port), "127.0.0.1");
    for (const [end, other] of [[near, far], [far, near]]) {
      this.#ends.add(end);
      end.on("error", () => {}).on("close", () => this.#ends.delete(end) && other.destroy());
      end.pipe(other);
    }
  });

  static async to(target) {
    const wire = new Wire();
    wire.target = target;
    await new Promise((resolve) => wire.#server.listen(0, "127.0.0.1", resolve));
    wire.origin = `http://127.0.0.1:${wire.#server.address().port}`;
    return wire;
  }

  cut() {
    this.#whole = false;
    for (const end of this.#ends) end.destroy();
  }

  mend(target = this.target) {
    this.target = target;
    this.#whole = true;
  }

  close() {
    this.cut();
    this.#server.close();
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

story("the ticker opens with the last value and a minute of history in its plot", async (open) => {
  const topic = fresh("ticker.past");
  const now = Date.now();
  const seconds = upTo(59, 0);
  await publish(topic, seconds.map((second) => ({ price: 100 + (second % 7), time: new Date(now - (59 - second) * 1000).toISOString() })));
  await publish(topic, [{ price: 321.5, time: new Date(now).toISOString() }]);
  const page = await open("ticker.html"); // from here on nobody publishes there
  const row = `[data-topic="${topic}"]`;
  await textOf(page, `${row} .price`, (text) => text === "321.50");
  const points = await page.locator(`${row} polyline`).evaluate(({ points }) => [...points].map(({ x }) => x));
  assert.equal(points.length, 61);
  assert.ok(points[0] < 3 && points.at(-1) === 120, `the line goes from ${points[0]} to ${points.at(-1)} of 120`);
  assert.deepEqual(offsetsOf(page, topic), upTo(61));
});

story("the switch on the ticker changes live what comes", async (open) => {
  const topic = fresh("ticker.rate");
  const row = `[data-topic="${topic}"]`;
  const page = await open("ticker.html");
  await connected(page);
  let price = 0;
  /** How many of a hundred prices, published at once, have come by the time the last one is shown; and how many a gap named. */
  const burst = async () => {
    const [messages, gaps] = [offsetsOf(page, topic).length, gapsOf(page, topic)];
    await publish(topic, upTo(price + 100, price + 1).map((price) => ({ price })));
    price += 100;
    await textOf(page, `${row} .price`, (text) => Number(text) === price);
    return { messages: offsetsOf(page, topic).length - messages, left: gapsOf(page, topic) - gaps };
  };
  const choose = async (choice, meaning) => {
    await page.locator(`#delivery input[value="${choice}"]`).press("Space");
    await textOf(page, "#delivered", (text) => text.startsWith(meaning));
  };

  await page.locator("#symbols tr").first().waitFor();
  assert.deepEqual(await burst(), { messages: 100, left: 0 });
  await choose("max_rate", "Of each symbol one price");
  const slow = await burst();
  assert.ok(slow.messages <= 10 && slow.left === 0, `${slow.messages} messages at max_rate 0.5, ${slow.left} in gaps`);
  await choose("latest", "Every price, as long as");
  const latest = await burst();
  assert.equal(latest.messages + latest.left, 100);
  await choose("everything", "Every price.");
  assert.deepEqual(await burst(), { messages: 100, left: 0 });
  assert.equal(page.sockets.length, 1, "all over one connection");
});

// Chromium holds back what a WebSocket brings while `setOffline` is on, but does not end it. The page ends it when it is
// told `offline`, so the server need not be asked to; a connection that breaks without that is the story after this one.
story("offline and back, the ticker has missed nothing", async (open, context) => {
  const topic = fresh("ticker.away");
  const page = await open("ticker.html");
  await connected(page);
  await page.locator("#symbols tr").first().waitFor();
  await publish(topic, [{ price: 1 }]);
  await page.locator(`[data-topic="${topic}"]`).waitFor();

  await context.setOffline(true);
  await textOf(page, ".state", (text) => text === "offline");
  await publish(topic, upTo(41, 2).map((price) => ({ price })));
  assert.deepEqual(offsetsOf(page, topic), [1]);
  await context.setOffline(false);

  const notice = await textOf(page, "#notice", something);
  const [, messages] = /^resumed, (\d+) messages? caught up, none missed$/.exec(notice) ?? assert.fail(notice);
  assert.ok(Number(messages) >= 40, notice);
  await textOf(page, `[data-topic="${topic}"] .price`, (text) => text === "41.00");
  assert.deepEqual(offsetsOf(page, topic), upTo(41));
  wholeSequences(page);
}, { ...DESKTOP, tolerated: /ERR_INTERNET_DISCONNECTED/ });

story("a connection that breaks is taken up where it was", async (open) => {
  const topic = fresh("ticker.cut");
  const wire = await Wire.to(origin);
  try {
    const page = await open("ticker.html", wire.origin);
    await connected(page);
    await page.locator("#symbols tr").first().waitFor();
    await publish(topic, [{ price: 1 }]);
    await page.locator(`[data-topic="${topic}"]`).waitFor();
    for (const round of [1, 2]) {
      wire.cut();
      await textOf(page, ".state", (text) => text === "reconnecting");
      await publish(topic, upTo(20 * round + 1, 20 * round - 18).map((price) => ({ price })));
      wire.mend();
      const notice = await textOf(page, "#notice", something);
      assert.match(notice, /^resumed, \d+ messages caught up, none missed$/);
      assert.deepEqual(offsetsOf(page, topic), upTo(20 * round + 1));
    }
    wholeSequences(page);
  } finally {
    wire.close();
  }
}, { ...DESKTOP, tolerated: /WebSocket connection to/ });

story("the ticker counts the gaps that the server announces", async (open) => {
  const topic = fresh("ticker.gap");
  const wire = await Wire.to(origin);
  try {
    const page = await open("ticker.html", wire.origin);
    await connected(page);
    await publish(topic, [{ price: 1 }]);
    await page.locator(`[data-topic="${topic}"]`).waitFor();
    assert.equal(await page.locator("#gaps").textContent(), "no gaps");
    wire.cut();
    await textOf(page, ".state", (text) => text === "reconnecting");
    // The demo remembers the last thousand.
    for (const first of [2, 552]) await publish(topic, upTo(first + 549, first).map((price) => ({ price })));
    wire.mend();
    assert.match(await textOf(page, "#notice", something), /^resumed, 1\d{3} messages caught up, 100 missed$/);
    assert.equal(await page.locator("#gaps").textContent(), "1 gap, 100 messages left out");
    assert.deepEqual(offsetsOf(page, topic), [1, ...upTo(1101, 102)]);
  } finally {
    wire.close();
  }
}, { ...DESKTOP, tolerated: /WebSocket connection to/ });

story("what nobody needed any longer is said to be missed", async (open) => {
  const room = fresh("late");
  const wire = await Wire.to(origin);
  try {
    const page = await open(`chat.html?room=${room}`, wire.origin);
    await enter(page, "Ann");
    for (const missed of ["1", "none"]) {
      wire.cut();
      await textOf(page, ".state", (text) => text === "reconnecting");
      if (missed === "1") await curl(`chat.${room}?ttl_ms=1`, '"tea is ready"'); // over before anybody can be back
      wire.mend();
      assert.equal(await textOf(page, "#notice", something), `resumed, 0 messages caught up, ${missed} missed`);
    }
  } finally {
    wire.close();
  }
}, { ...DESKTOP, tolerated: /WebSocket connection to/ });

story("the subprotocol can be changed, and the page opens as it was", async (open) => {
  const page = await open("ticker.html");
  await connected(page);
  await page.locator("#symbols tr").first().waitFor();
  for (const protocol of ["pubsub.msgpack", "pubsub.json"]) {
    await page.locator(`[name="protocol"][value="${protocol}"]`).press("Space");
    await page.waitForFunction((protocol) => location.search.includes(protocol), protocol);
    await connected(page);
    await page.locator("#symbols tr").first().waitFor();
    assert.equal(await page.locator('[name="protocol"]:checked').getAttribute("value"), protocol);
  }
});

story("what history no longer holds is said to be missed, and so is what nobody can know", async (open) => {
  const topic = fresh("sports.test");
  const wire = await Wire.to(origin);
  const another = await Server.start(["--demo"]);
  try {
    const page = await open("scoreboard.html", wire.origin);
    await connected(page);
    await curl(topic, '{"home":0}');
    await page.locator(`[data-topic="${topic}"]`).waitFor();

    wire.cut();
    await textOf(page, ".state", (text) => text === "reconnecting");
    await publish(topic, upTo(150).map((home) => ({ home }))); // the demo remembers the last hundred
    wire.mend();
    assert.match(await textOf(page, "#notice", something), /^resumed, \d+ messages caught up, 50 missed$/);
    await textOf(page, `[data-topic="${topic}"] .side:nth-of-type(2) .score`, (text) => text === "150");

    wire.cut();
    await textOf(page, ".state", (text) => text === "reconnecting");
    wire.mend(`http://${another.host}`);
    assert.match(await textOf(page, "#notice", something), /caught up, some may be missed: the server has begun anew$/);
  } finally {
    wire.close();
    await another.stop();
  }
}, { ...DESKTOP, tolerated: /WebSocket connection to/ });

story("the ticker shows how busy the machine is", async (open) => {
  const page = await open("ticker.html");
  for (const id of ["cpu", "memory", "received", "sent"]) assert.match(await textOf(page, `#${id}`, something), /\d/);
  await textOf(page, "#rate", (text) => /^[1-9]\d* messages\/s$/.test(text));
});

story("the scoreboard opens with the state that partial messages have made", async (open) => {
  const topic = fresh("sports.test");
  await publish(topic, [{ home_team: "Reds", away_team: "Blues", home: 0, away: 0 }, { away: 2 }, { home: 1 }, { event: "Half-time" }]);
  const page = await open("scoreboard.html");
  const card = `[data-topic="${topic}"]`;
  await textOf(page, `${card} .event`, (text) => text === "Half-time");
  assert.deepEqual(await page.locator(`${card} .score`).allTextContents(), ["1", "2"]);
  assert.deepEqual(await page.locator(`${card} .team`).allTextContents(), ["Reds", "Blues"]);
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

/** Enters the room by keyboard, under a name or as a guest, and waits until the page shows who is there. */
async function enter(page, name = "") {
  await connected(page);
  await page.fill("#name", name);
  await page.press("#name", "Enter");
  await page.locator("#here .me").waitFor();
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
  await textOf(page, "#log", (log) => log.includes(text)); // the echo
}

story("the chat shows who is there, by user, and what was said last", async (open) => {
  const room = `chat.html?room=${fresh("here")}`;
  const [ann, again, bob] = [await open(room), await open(room), await open(room)];
  const here = (page, names, count) =>
    page.waitForFunction(
      ([names, count]) =>
        document.querySelector("#count").textContent === count &&
        [...document.querySelectorAll("#here li")].map((item) => item.textContent.trim()).join() === names,
      [names, count],
    );
  await enter(ann, "Ann");
  await here(ann, "Ann", "1 here");
  await say(ann, "first");
  await enter(again, "Ann");
  await here(again, "Ann", "1 here on 2 pages");
  await enter(bob, "Bob");
  for (const page of [ann, again, bob]) await here(page, "Ann,Bob", "2 here on 3 pages");
  await textOf(ann, "#log", (log) => log.includes("Bob has come"));
  await textOf(bob, "#log", (log) => log.includes("Ann") && log.includes("first")); // said before Bob came

  await ann.close();
  await here(bob, "Ann,Bob", "2 here");
  await again.click("#leave");
  await here(bob, "Bob", "1 here");
  await textOf(bob, "#log", (log) => log.includes("Ann has left"));
  assert.ok(await again.locator("#send").isDisabled());

  const guest = await open(room);
  await enter(guest);
  await here(bob, "Bob,guest", "2 here");
  await textOf(bob, "#log", (log) => log.includes("guest has come"));
  await guest.fill("#name", "Cleo");
  await guest.press("#name", "Enter");
  await here(bob, "Bob,Cleo", "2 here");
  await guest.fill("#name", "");
  await guest.press("#name", "Enter");
  await here(bob, "Bob,guest", "2 here");
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
  await enter(ann, "Ann");
  await enter(bob, "Bob");
  await say(ann, "anybody here?");
  await say(bob, "Hello from MessagePack ✓");
  await textOf(ann, "#log", (log) => log.includes("Bob") && log.includes("Hello from MessagePack ✓"));
  await say(ann, "<b>Hello</b> from JSON");
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

story("all tabs of a user share one connection, and what is read in one is read in all", async (open) => {
  const user = fresh("ann");
  const inbox = `inbox.${user}`;
  const summary = (page, text) => textOf(page, "#summary", (says) => says === text);
  const first = await open(`notifications.html?user=${user}`);
  await connected(first);
  await curl(inbox, '{"text":"Your parcel is on its way"}');
  await summary(first, `1 notification for ${user}, 1 unread`);
  const second = await open(`notifications.html?user=${user}`);
  await connected(second);
  await curl(inbox, '"A bare text"');
  for (const page of [first, second]) {
    await summary(page, `2 notifications for ${user}, 2 unread`);
    assert.equal(await page.title(), "(2) Notifications · TopicHub");
    assert.equal(await page.locator("#badge").textContent(), "2");
    assert.deepEqual(await page.locator("#inbox .text").allTextContents(), ["A bare text", "Your parcel is on its way"]);
  }
  assert.deepEqual([first.sockets, second.sockets], [[], []]); // the connection is the worker's

  await second.click("#read");
  for (const page of [first, second]) await summary(page, `2 notifications for ${user}, none unread`);
  assert.equal(await first.locator("#badge").isVisible(), false);
  await first.close(); // the other goes on
  await curl(inbox, '{"text":"It is at the door"}');
  await summary(second, `3 notifications for ${user}, 1 unread`);
});

story("whom a page notifies finds it, there or later", async (open) => {
  const [bea, cem] = [fresh("bea"), fresh("cem")];
  const sender = await open(`notifications.html?user=${bea}`);
  await connected(sender);
  await sender.fill("#to", cem);
  await sender.fill("#text", "Lunch?");
  await sender.keyboard.press("Enter");
  await textOf(sender, "#told", (says) => says === `Sent to ${cem}, who will find it later.`);
  const reader = await open(`notifications.html?user=${cem}`);
  await textOf(reader, "#inbox li", (says) => says.startsWith(`Lunch?from ${bea}`));
  await sender.fill("#text", "Now?");
  await sender.keyboard.press("Enter");
  await textOf(sender, "#told", (says) => says === `Sent to ${cem}, who is looking.`);
  await textOf(reader, "#inbox li", (says) => says.startsWith("Now?"));
});

for (const name of PAGES) {
  story(
    `${name} fits a phone`,
    async (open) => {
      const page = await open(`${name}.html`);
      await settle(page, name);
      const content = await page.evaluate(() => document.documentElement.scrollWidth);
      const { width } = PHONE.viewport; // the page's own innerWidth grows with what does not fit
      assert.ok(content <= width, `${content} px of content on ${width} px`);
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

/** How many messages of a topic gaps have named. */
function gapsOf(page, topic) {
  const gaps = page.sockets.flat().filter((push) => push.op === "gap" && push.topic === topic);
  return gaps.reduce((sum, { from, to }) => sum + to - from + 1, 0);
}

/** Of every topic the page has got each message once, in order, from the first it got to the last. */
function wholeSequences(page) {
  const topics = new Set(page.sockets.flat().map(({ topic }) => topic));
  assert.ok(topics.size >= 5, [...topics].join());
  for (const topic of topics) {
    const offsets = offsetsOf(page, topic);
    assert.deepEqual(offsets, upTo(offsets.at(-1), offsets[0]), topic);
  }
}

/** Waits until a page shows what it is for. */
async function settle(page, name) {
  if (name === "notifications") await page.fill("#user", "ann").then(() => page.keyboard.press("Enter"));
  if (name !== "index") await connected(page);
  if (name === "ticker") await page.waitForFunction(() => document.querySelector("#symbols polyline")?.points.numberOfItems >= 5);
  if (name === "chat") {
    await enter(page, "Ann");
    await say(page, "anybody here?");
  }
  if (name === "scoreboard") await page.locator(".match").first().waitFor();
  if (name === "clock") await textOf(page, "#time", (text) => /\d/.test(text));
}

async function shoot(page, name) {
  if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`) });
}
