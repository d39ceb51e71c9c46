/** protocol/vectors: the frames, names and codes that all clients and the server agree on. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { build } from "esbuild";
import { matches } from "../dist/index.js";
import { msgpack } from "../dist/msgpack.js";
import { PlayedClock, playedHub, settle } from "./played.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`../../../protocol/vectors/${name}.json`, import.meta.url), "utf8"));
const textOf = (parts) => [parts].flat().map((part) => (typeof part === "string" ? part : part.repeat.repeat(part.times))).join("");
const bytesOf = (hex) => new Uint8Array(Buffer.from(textOf(hex), "hex"));

/** A map as JSON would have it: bytes as base64 in place of `data`. */
function asJson(value) {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (Array.isArray(value)) return value.map(asJson);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => (key === "data" && one instanceof Uint8Array ? ["data_base64", asJson(one)] : [key, asJson(one)])));
}

/** That a value has all that another has. Nobody is an empty list. */
function holds(more, now, name) {
  if (now === null || typeof now !== "object" || Array.isArray(now)) assert.deepEqual(more ?? [], now, name);
  else for (const key of Object.keys(now)) holds(more[key], now[key], name);
}

test("what a server says reads the same in both codecs", () => {
  const { replies, pushes } = read("replies");
  let count = 0;
  for (const { name, json: text, msgpack: hex } of [...replies, ...pushes]) {
    const map = JSON.parse(textOf(text));
    if (hex) assert.deepEqual(asJson(msgpack.decode(bytesOf(hex).buffer)), map, name);
    count += 1;
  }
  assert.ok(count >= 90, `${count}`);
});

test("what it says more of in a later version reads like what it says now", () => {
  for (const { name, json: text, same_as } of read("replies").lenient) {
    const [more, now] = [text, same_as].map((one) => JSON.parse(textOf(one)));
    if (now.op === "error") assert.equal(more.retry ?? false, now.retry ?? false, name); // codes that are not known go by `retry`
    else holds(more, now, name);
  }
});

test("commands are written so that they read back the same", () => {
  for (const { name, json: text, msgpack: hex } of read("commands").commands) {
    for (const command of [text && JSON.parse(textOf(text)), hex && msgpack.decode(bytesOf(hex).buffer)]) {
      if (command) assert.deepEqual(msgpack.decode(msgpack.encode(command)), command, name);
    }
  }
});

test("patterns match what they should", () => {
  const { matches: pairs } = read("topics");
  for (const { filter, topic, matches: wanted } of pairs) assert.equal(matches(textOf(filter), textOf(topic)), wanted, `${filter} and ${topic}`);
});

test("close codes say whether to come back", async () => {
  const { closes, other_closes } = read("codes");
  for (const { code, reconnect } of [...closes, ...other_closes]) {
    const { hub, socket, states } = playedHub();
    await settle();
    socket().says({ op: "welcome", session: "s", protocol: 1 });
    socket().ends(code);
    const retry = { 150: "now", 250: "later" }[states.at(-1).retry_ms];
    assert.equal(hub.state === "closed" ? "never" : retry, reconnect, `${code}`);
    hub.close();
  }
});

/** The transport alone: what is built has it within. */
async function eventsTransport() {
  const { outputFiles } = await build({ entryPoints: [`${import.meta.dirname}/../src/transport/events.ts`], bundle: true, format: "esm", write: false });
  return (await import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`)).events;
}

/** What it finds in a stream that comes in pieces of so many bytes. */
async function mapsIn(events, text, size) {
  const bytes = new TextEncoder().encode(text);
  const pieces = new ReadableStream({
    start(stream) {
      for (let at = 0; at < bytes.length; at += size) stream.enqueue(bytes.subarray(at, at + size));
      stream.close();
    },
  });
  const fetch = async (url) => (new URL(url).pathname === "/events" ? new Response(pieces, { headers: { "content-type": "text/event-stream" } }) : new Response("ok"));
  const [maps, ids] = [[], { "ticker.AAPL": 1 }];
  const ended = new Promise((resolve) => {
    const resume = () => Object.keys(ids).map((topic) => ({ op: "subscribe", topic }));
    const listener = { map: (map) => maps.push(map), heard: () => {}, ended: resolve, resume };
    const link = events.dial({ ws: "ws://hub.test/ws", clock: new PlayedClock(), fetch }, listener);
    for (const [topic, id] of Object.entries(ids)) link.send({ op: "subscribe", id, topic });
  });
  assert.equal((await ended).reason, "the stream has ended");
  return maps.filter(({ op, session }) => op !== "welcome" || session); // the first is the client's own
}

test("events are read as what they say, wherever they are cut", async () => {
  const [transport, { events, readings }] = [await eventsTransport(), read("events")];
  const cases = [...events.map(({ name, map, event }) => ({ name, text: event, maps: [JSON.parse(textOf(map))] })), ...readings];
  assert.ok(cases.length >= 28, `${cases.length}`);
  for (const { name, text, maps } of cases) {
    const wanted = maps.filter(({ topics }) => !topics); // the client asks for each by itself
    for (const size of [1, 2, 3, 7, 100_000]) assert.deepEqual(await mapsIn(transport, textOf(text), size), wanted, `${name}, in pieces of ${size}`);
  }
});
