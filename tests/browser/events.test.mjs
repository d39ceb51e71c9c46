/** A bare `EventSource` in a real Chromium, without any client of ours: it opens, gets, is cut off, and goes on where it
 * was. Set up as pages.test.mjs is. */

import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Server } from "../node/server.mjs";

const DEADLINE_MS = 20_000;

let browser;
let server;
let tunnel;

/** Passes bytes on to the server, and cuts every line there is when it is told to. */
class Tunnel {
  static async open(host) {
    const [address, port] = host.split(":");
    const lines = new Set();
    const listener = net.createServer((incoming) => {
      const outgoing = net.connect(Number(port), address);
      for (const [from, to] of [[incoming, outgoing], [outgoing, incoming]]) {
        lines.add(from);
        from.on("error", () => to.destroy()).on("close", () => lines.delete(from)).pipe(to);
      }
    });
    await new Promise((listening) => listener.listen(0, "127.0.0.1", listening));
    return Object.assign(new Tunnel(), { listener, lines, host: `127.0.0.1:${listener.address().port}` });
  }

  cut() {
    for (const line of this.lines) line.resetAndDestroy();
  }

  close() {
    this.cut();
    return new Promise((closed) => this.listener.close(closed));
  }
}

before(async () => {
  server = await Server.start([]);
  tunnel = await Tunnel.open(server.host);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
  });
});

after(async () => {
  await browser?.close();
  await tunnel?.close();
  await server?.stop();
});

const publish = async (topic, data) => {
  const url = `http://${server.host}/topics/${encodeURIComponent(topic)}`;
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) });
  assert.equal(answer.status, 200);
};

for (const [name, topics, pattern] of [["one topic", ["events.größe"], "events.größe"], ["a pattern", ["n.a", "n.ü", "n.%41"], "n.*"]]) {
  test(`an EventSource of ${name} loses nothing and gets nothing twice when its line is cut`, { timeout: 3 * DEADLINE_MS }, async () => {
    const context = await browser.newContext();
    context.setDefaultTimeout(DEADLINE_MS);
    const page = await context.newPage();
    try {
      // Through the tunnel it is a page of the server's own origin.
      await page.goto(`http://${tunnel.host}/healthz`);
      await page.evaluate((pattern) => {
        window.read = {};
        window.opened = 0;
        const source = new EventSource(`/events?topic=${encodeURIComponent(pattern)}`);
        source.addEventListener("subscribed", () => { window.opened += 1; });
        source.addEventListener("gap", (event) => { window.gap = event.data; });
        source.onmessage = (event) => {
          const { topic, data } = JSON.parse(event.data);
          (window.read[topic] ??= []).push(data);
        };
        window.source = source;
      }, pattern);
      await page.waitForFunction(() => window.opened === 1);
      let number = 0;
      for (const cut of [1, 2]) {
        for (const topic of topics) await publish(topic, ++number);
        await page.waitForFunction((last) => Object.values(window.read).flat().includes(last), number);
        tunnel.cut();
        for (const topic of topics) await publish(topic, ++number);
        // The browser comes back by itself, after a second.
        await page.waitForFunction((opened) => window.opened === opened, cut + 1);
      }
      for (const topic of topics) await publish(topic, ++number);
      await page.waitForFunction((count) => Object.values(window.read).flat().length >= count, number);
      const { read, gap } = await page.evaluate(() => ({ read: window.read, gap: window.gap }));
      const expected = topics.map((topic, at) => [topic, Array.from({ length: number / topics.length }, (_, round) => round * topics.length + at + 1)]);
      assert.deepEqual(read, Object.fromEntries(expected));
      assert.equal(gap, undefined);
    } finally {
      await context.close();
    }
  });
}

test("what an EventSource may not have it is refused for good", { timeout: DEADLINE_MS }, async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  try {
    await page.goto(`http://${server.host}/healthz`);
    const state = await page.evaluate(() => new Promise((told) => {
      const source = new EventSource("/events?topic=$sys.stats");
      source.onerror = () => told(source.readyState);
    }));
    assert.equal(state, 2, "closed");
  } finally {
    await context.close();
  }
});
