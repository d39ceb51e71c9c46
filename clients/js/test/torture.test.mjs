/**
 * A thousand cuts: subscribers behind the fault proxy (tests/faults) while a publisher counts up. FAULTS_BIN is the proxy; if it is not said,
 * it is looked for beside the server. CUTS, SEED and WAY say how many, which, and by which transport.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { after, before } from "node:test";
import { msgpack } from "../dist/msgpack.js";
import { DEADLINE_MS, Server, endLater, hubAt, state, story } from "./world.mjs";

const FAULTS = process.env.FAULTS_BIN ?? join(dirname(process.env.TOPICHUB_BIN ?? "target/debug/topichub"), "faults");
const CUTS = Number(process.env.CUTS ?? 1000);
const SEED = process.env.SEED ?? "1";
const WAY = process.env.WAY ?? "websocket"; // or events, or poll
const STORY_MS = 120_000;
const TOPICS = 5;

let server;
let directory;

before(async () => {
  assert.ok(existsSync(FAULTS), `the fault proxy is not there: ${FAULTS} (cargo build -p faults)`);
  directory = mkdtempSync(join(tmpdir(), "topichub-js-"));
  writeFileSync(join(directory, "hub.toml"), '[[topics]]\npattern = "short.>"\nhistory.messages = 20\n\n[[topics]]\npattern = ">"\nhistory.messages = 100000\nhistory.bytes = 67108864\n');
  server = await Server.start(["--config", join(directory, "hub.toml")]);
});

after(async () => {
  await server?.stop();
  rmSync(directory, { recursive: true });
});

/** Starts the proxy. `done` resolves when it has done all its faults. */
async function faults(count, more = []) {
  const child = spawn(FAULTS, ["--upstream", server.host, "--seed", SEED, "--faults", String(count), ...more], { stdio: ["pipe", "pipe", "inherit"] });
  endLater(() => child.kill());
  const proxy = { done: undefined, count: 0, host: undefined };
  let finish;
  proxy.done = new Promise((resolve) => (finish = resolve));
  await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", () => reject(new Error("the fault proxy has ended")));
    createInterface(child.stdout).on("line", (line) => {
      const address = /^listening on (\S+)/.exec(line)?.[1];
      if (address) resolve((proxy.host = address));
      else if ("done" in JSON.parse(line)) finish();
      else proxy.count += 1;
    });
  });
  return proxy;
}

/** Counts up, on each topic from 1, until told to stop; returns where it was then. */
async function publishUntil(stopped, topics, everyMs) {
  const writer = hubAt(server.host);
  await state(writer, "open");
  let stop = false;
  void stopped.then(() => (stop = true));
  const last = Object.fromEntries(topics.map((topic) => [topic, 0]));
  while (!stop) {
    await Promise.all(topics.map((topic) => writer.publish(topic, ++last[topic])));
    await new Promise((resolve) => setTimeout(resolve, everyMs)); // a rate, not a wait
  }
  for (let more = 0; more < 10; more++) for (const topic of topics) await writer.publish(topic, ++last[topic]);
  return last;
}

/** Reads until every topic is where it should end, or nothing more can be hoped for; returns what came, and what was announced as missing. */
async function readUntil(subscription, ends) {
  const got = new Map();
  const gaps = [];
  let wanted = Infinity;
  let seen = 0;
  let late;
  void ends.then((last) => {
    wanted = Object.values(last).reduce((sum, count) => sum + count);
    late = setTimeout(() => void subscription.unsubscribe(), seen < wanted ? DEADLINE_MS : 0);
  });
  for await (const event of subscription.events()) {
    if (event.op === "gap") {
      gaps.push(event);
      seen += event.to - event.from + 1;
    } else if (event.op === "message") {
      if (!got.has(event.topic)) got.set(event.topic, []);
      got.get(event.topic).push(event.data);
      seen += 1;
    }
    if (seen >= wanted) break;
  }
  clearTimeout(late);
  return { got, gaps };
}

story(`${CUTS} cuts: nothing is lost, nothing comes twice, no gap is told`, async () => {
  const proxy = await faults(CUTS);
  const parent = "long.torture";
  const topics = Array.from({ length: TOPICS }, (_, i) => `${parent}.${i}`);
  const options = { transports: [WAY], backoff: { base: 1, max: 20 } };
  const subscribers = [];
  // Several of each kind share the cuts.
  for (let i = 0; i < 3; i++) {
    const [plain, pattern, bytes] = [{}, {}, { codec: msgpack }].map((more) => hubAt(proxy.host, { ...options, ...more }));
    subscribers.push([plain.subscribe(topics[i], { buffer: 100_000 }), [topics[i]]]);
    subscribers.push([pattern.subscribe(`${parent}.*`, { buffer: 100_000 }), topics]);
    subscribers.push([bytes.subscribe(`${parent}.>`, { buffer: 100_000 }), topics]);
  }
  await Promise.all(subscribers.map(([subscription]) => subscription.ready));
  const ends = publishUntil(proxy.done, topics, 2);
  const told = await Promise.all(subscribers.map(([subscription, of]) => readUntil(subscription, ends.then((last) => Object.fromEntries(of.map((topic) => [topic, last[topic]]))))));
  const last = await ends;
  for (const [i, { got, gaps }] of told.entries()) {
    const [, of] = subscribers[i];
    assert.deepEqual(gaps, []);
    for (const topic of of) {
      const numbers = got.get(topic);
      assert.equal(numbers?.length, last[topic], `${topic} of subscriber ${i}`);
      assert.ok(numbers.every((number, at) => number === at + 1), `${topic} of subscriber ${i} is in order`);
    }
  }
  assert.ok(proxy.count >= CUTS);
}, STORY_MS);

story("where history is short, what is lost is what the gaps say, and nothing else", async () => {
  const proxy = await faults(Math.ceil(CUTS / 10), ["--mean-ms", "60"]);
  const topics = ["short.torture.a", "short.torture.b"];
  const options = { transports: [WAY], backoff: { base: 100, max: 200 } };
  const subscribers = [
    [hubAt(proxy.host, options).subscribe("short.torture.a", { buffer: 100_000 }), ["short.torture.a"]],
    [hubAt(proxy.host, { ...options, codec: msgpack }).subscribe("short.torture.*", { buffer: 100_000 }), topics],
  ];
  await Promise.all(subscribers.map(([subscription]) => subscription.ready));
  const ends = publishUntil(proxy.done, topics, 1);
  const told = await Promise.all(subscribers.map(([subscription, of]) => readUntil(subscription, ends.then((last) => Object.fromEntries(of.map((topic) => [topic, last[topic]]))))));
  const last = await ends;
  assert.ok(told.some(({ gaps }) => gaps.length > 0), "history was short at least once");
  for (const [i, { got, gaps }] of told.entries()) {
    for (const topic of subscribers[i][1]) {
      const all = [...(got.get(topic) ?? [])];
      for (const { from, to } of gaps.filter((gap) => gap.topic === topic)) for (let number = from; number <= to; number++) all.push(number);
      all.sort((a, b) => a - b);
      assert.equal(all.length, last[topic], topic);
      assert.ok(all.every((number, at) => number === at + 1), `each of ${topic} has come or was announced, once`);
    }
  }
}, STORY_MS);
