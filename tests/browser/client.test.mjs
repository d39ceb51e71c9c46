/**
 * The client of clients/js in a real Chromium: its network is switched off and on, and tabs share a connection. Set up as pages.test.mjs is;
 * clients/js is to be built before.
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createReadStream, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as ask } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { Server } from "../node/server.mjs";

const DEADLINE_MS = 20_000;
const DIST = new URL("../../clients/js/dist/", import.meta.url);

let browser;
let directory;
let config;
let server;
let site;
let origin;
/** The same behind a hub that asks for tokens. */
let guarded;
/** Whether the site lets WebSockets through. */
let upgrades = true;

/** The built client beside a hub, on one origin. */
async function serveBoth(hub) {
  const [host, port] = hub.host.split(":");
  const both = createServer((request, response) => {
    const file = /^\/js\/([\w.-]+\.js)$/.exec(request.url)?.[1];
    if (file && existsSync(new URL(file, DIST))) {
      response.writeHead(200, { "content-type": "text/javascript" });
      return createReadStream(new URL(file, DIST)).pipe(response);
    }
    if (request.url === "/blank") return response.writeHead(200, { "content-type": "text/html" }).end('<!doctype html><link rel="icon" href="data:,"><title>client</title>');
    const onward = ask({ host, port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    return request.pipe(onward);
  });
  both.on("upgrade", (request, socket, head) => {
    socket.on("error", () => {});
    if (!upgrades) return socket.destroy();
    const far = connect(Number(port), host, () => {
      const headers = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}\r\n`);
      far.write(`GET ${request.url} HTTP/1.1\r\n${headers.join("")}\r\n`);
      far.write(head);
      socket.pipe(far).pipe(socket);
    });
    far.on("error", () => socket.destroy());
    socket.on("close", () => far.destroy());
  });
  await new Promise((resolve) => both.listen(0, "127.0.0.1", resolve));
  return both;
}

const originOf = (site) => `http://127.0.0.1:${site.address().port}`;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "topichub-browser-"));
  config = join(directory, "hub.toml");
  writeFileSync(config, '[[auth.keys]]\nalgorithm = "HS256"\nsecret = "a secret of the tests, which is long enough"\n\n[[topics]]\npattern = ">"\nhistory.messages = 100\n');
  server = await Server.start([]);
  site = await serveBoth(server);
  origin = originOf(site);
  const hub = await Server.start(["--config", config]);
  guarded = { hub, site: await serveBoth(hub) };
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
  });
});

after(async () => {
  await browser?.close();
  for (const one of [site, guarded?.site]) {
    one?.closeAllConnections();
    one?.close();
  }
  await server?.stop();
  await guarded?.hub.stop();
  rmSync(directory, { recursive: true });
});

/** A program in a browser of its own, which at the end has met no problem. */
function story(name, tell) {
  test(name, { timeout: 4 * DEADLINE_MS }, async () => {
    const context = await browser.newContext();
    context.setDefaultTimeout(DEADLINE_MS);
    const problems = [];
    const tab = async (at = origin) => {
      const page = await context.newPage();
      page.on("pageerror", (error) => problems.push(error.message));
      await page.goto(`${at}/blank`);
      return page;
    };
    try {
      await tell(tab, context);
      assert.deepEqual(problems, []);
    } finally {
      upgrades = true;
      await context.close();
    }
  });
}

/** Publishes from outside the browser. */
const publish = async (topic, data) => {
  const answer = await fetch(`http://${server.host}/topics/${topic}`, { method: "POST", body: JSON.stringify(data), headers: { "content-type": "application/json" } });
  assert.equal(answer.status, 200);
};

/** Lets a page subscribe, and keep what comes in `window.got`. */
const subscribe = (page, topic, { shared = false, options = {} } = {}) =>
  page.evaluate(async ([topic, shared, options]) => {
    const { connect } = await import("/js/index.js");
    const { connectShared } = await import("/js/shared-worker.js");
    window.hub ??= (shared ? connectShared : connect)("/", { backoff: { base: 50, max: 200 } });
    window.got = [];
    window.gaps = [];
    const subscription = window.hub.subscribe(topic, options);
    (async () => {
      for await (const event of subscription.events()) {
        if (event.op === "message") window.got.push(event.data);
        if (event.op === "gap") window.gaps.push(event);
      }
    })();
    await subscription.ready;
  }, [topic, shared, options]);

const gets = (page, wanted) => page.waitForFunction((wanted) => JSON.stringify(window.got) === wanted, JSON.stringify(wanted));

story("with the network switched off and on, nothing is lost and nothing comes twice", async (tab, context) => {
  const page = await tab();
  await subscribe(page, "browser.count");
  let number = 0;
  const wanted = [];
  for (let round = 0; round < 5; round++) {
    await publish("browser.count", ++number);
    wanted.push(number);
    await gets(page, wanted);
    await context.setOffline(true);
    await page.waitForFunction(() => window.hub.state !== "open");
    await publish("browser.count", ++number); // one, as the server remembers one
    wanted.push(number);
    await context.setOffline(false);
    await gets(page, wanted);
  }
  assert.deepEqual(await page.evaluate(() => window.gaps), []);
  assert.equal(await page.evaluate(() => window.hub.transport), "websocket");
});

story("tabs share one connection, a new one gets the last value, and one that goes is noticed", async (tab) => {
  const [one, two] = [await tab(), await tab()];
  await subscribe(one, "browser.shared", { shared: true });
  await publish("browser.shared", "first");
  await gets(one, ["first"]);
  await subscribe(two, "browser.shared", { shared: true });
  await gets(two, ["first"]);
  assert.deepEqual(await Promise.all([one, two].map((page) => page.evaluate(() => window.hub.transport))), ["shared-worker", "shared-worker"]);
  const { subscribers } = await one.evaluate(() => window.hub.publish("browser.shared", "second"));
  assert.equal(subscribers, 1, "to the server they are one");
  await gets(one, ["first", "second"]);
  await gets(two, ["first", "second"]);
  assert.deepEqual(await two.evaluate(async () => (await window.hub.history("browser.shared")).messages.map(({ data }) => data)), ["second"]);

  await two.evaluate(() => window.hub.subscribe("browser.other").ready);
  const listening = (topic) => one.evaluate(async (topic) => (await window.hub.publish(topic, 1)).subscribers, topic);
  assert.equal(await listening("browser.other"), 1);
  await two.close(); // without a word
  for (const end = Date.now() + DEADLINE_MS; (await listening("browser.other")) > 0; ) assert.ok(Date.now() < end, "it is noticed");
  assert.equal(await one.evaluate(() => window.hub.state), "open");
});

/** A token for so many seconds. */
const tokenFor = async (seconds) => (await promisify(execFile)(process.env.TOPICHUB_BIN, ["token", "--config", config, "--user", "ada", "--subscribe", "mine.>", "--publish", "mine.>", "--expires", `${seconds}s`])).stdout.trim();

/** A tab behind the shared worker of the guarded hub, which counts in `window.got` and asks for tokens by `window.fetchToken`. */
async function guardedTab(tab, fetchToken) {
  const page = await tab(originOf(guarded.site));
  await page.exposeFunction("fetchToken", fetchToken);
  await page.evaluate(async () => {
    const { connectShared } = await import("/js/shared-worker.js");
    window.states = [];
    window.got = [];
    window.hub = connectShared("/", { token: () => window.fetchToken() });
    window.hub.addEventListener("state", ({ detail }) => window.states.push(detail.state));
    const subscription = window.hub.subscribe("mine.count");
    (async () => {
      for await (const { op, data } of subscription.events()) if (op === "message" || op === "gap") window.got.push(data ?? op);
    })();
    await subscription.ready;
  });
  return page;
}

/** Counts up from another connection until the condition is met; returns where that was. */
async function countUntil(page, condition) {
  const token = await tokenFor(60);
  for (let number = 1; ; number++) {
    const answer = await fetch(`http://${guarded.hub.host}/topics/mine.count`, { method: "POST", body: String(number), headers: { "content-type": "application/json", authorization: `Bearer ${token}` } });
    assert.equal(answer.status, 200);
    await page.waitForFunction((number) => window.got.at(-1) === number, number);
    if (condition()) return Array.from({ length: number }, (_, i) => i + 1);
  }
}

story("the shared session renews its token by the tabs, and nobody notices", async (tab) => {
  let asked = 0;
  const fetchToken = () => (++asked, tokenFor(4));
  const one = await guardedTab(tab, fetchToken);
  const two = await guardedTab(tab, fetchToken);
  assert.equal(asked, 2);
  const wanted = await countUntil(two, () => asked >= 6); // both have been asked twice, the first tokens are over
  assert.deepEqual(await one.evaluate(() => window.got), wanted);
  for (const page of [one, two]) assert.deepEqual(await page.evaluate(() => [window.hub.transport, window.states.at(-1), window.states.includes("waiting")]), ["shared-worker", "open", false]);
});

story("a shared session whose token ran out comes back with another, and nothing is lost", async (tab) => {
  const tokens = [() => tokenFor(2), () => Promise.reject(new Error("no network to fetch a token"))];
  const page = await guardedTab(tab, () => (tokens.shift() ?? (() => tokenFor(60)))());
  const back = () => page.evaluate(() => window.states.includes("waiting") && window.hub.state === "open");
  for (const end = Date.now() + DEADLINE_MS; !(await back()); ) assert.ok(Date.now() < end, "it is back");
  assert.equal(tokens.length, 0);
  let once = false;
  assert.deepEqual(await page.evaluate(() => window.got), []);
  await countUntil(page, () => once || !(once = true));
  assert.deepEqual(await page.evaluate(() => window.got), [1, 2]);
});

story("a token that nobody can renew ends the shared session", async (tab) => {
  const page = await tab(originOf(guarded.site));
  const code = await page.evaluate(async () => {
    const { connectShared } = await import("/js/shared-worker.js");
    const hub = connectShared("/", { token: "nonsense" });
    return hub.subscribe("mine.count").ready.catch(({ code }) => code);
  });
  assert.equal(code, "unauthorized");
});

story("where the shared worker cannot be loaded, a tab has a connection of its own", async (tab) => {
  const page = await tab();
  await page.evaluate(async () => {
    const { connectShared } = await import("/js/shared-worker.js");
    window.hub = connectShared("/", { worker: () => new SharedWorker("/js/missing.js", { type: "module" }) });
    await window.hub.subscribe("browser.alone").ready;
  });
  assert.equal(await page.evaluate(() => window.hub.transport), "websocket");
});

story("where WebSockets are killed, everything goes on by streams, and the tab remembers", async (tab, context) => {
  upgrades = false;
  const page = await tab();
  await subscribe(page, "browser.streams");
  assert.equal(await page.evaluate(() => window.hub.transport), "events");
  await page.evaluate(() => window.hub.publish("browser.streams", 1));
  await gets(page, [1]);
  await context.setOffline(true);
  await page.waitForFunction(() => window.hub.state !== "open");
  await publish("browser.streams", 2);
  await context.setOffline(false);
  await gets(page, [1, 2]);
  assert.equal(await page.evaluate(() => Object.values(sessionStorage)[0]), "events");
  assert.deepEqual(await page.evaluate(() => window.gaps), []);
});
