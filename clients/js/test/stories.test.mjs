/** The client against the real server. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { BufferOverflow, ClosedError, CommandError, ConnectionLost, HubError, OfflineError, connect } from "../dist/index.js";
import { msgpack } from "../dist/msgpack.js";
import { Cut } from "./cut.mjs";
import { Server, dataOf, endLater, hubAt, newTopic, state, story, take, until } from "./world.mjs";

let server;
let directory;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "topichub-js-"));
  writeFileSync(join(directory, "hub.toml"), '[[topics]]\npattern = "short.>"\nhistory.messages = 3\n\n[[topics]]\npattern = ">"\nhistory.messages = 10000\n');
  server = await Server.start(["--config", join(directory, "hub.toml")]);
});

after(async () => {
  await server?.stop();
  rmSync(directory, { recursive: true });
});

const hub = (options) => hubAt(server.host, options);

/** A hub whose network can be cut. */
async function hubToCut(options) {
  const cut = await Cut.before(server.host);
  endLater(() => cut.stop());
  return { cut, hub: hubAt(cut.host, { transports: ["websocket"], backoff: { base: 20, max: 100 }, ...options }) };
}

for (const codec of [undefined, msgpack]) {
  const name = codec?.subprotocol ?? "pubsub.json";

  story(`${name}: what is published arrives, and is answered by its position`, async () => {
    const [reader, writer] = [hub({ codec }), hub({ codec })];
    const topic = newTopic();
    const messages = reader.subscribe(topic);
    const { epoch, offset } = await messages.ready;
    assert.equal(offset, 0);
    await state(writer, "open");
    const data = { price: 190.2, tags: ["grüße 🎉", null, true], deep: { er: [[]] } };
    assert.deepEqual(await writer.publish(topic, data, { key: "k", meta: { by: "test" } }), { topic, epoch, offset: 1, subscribers: 1 });
    const [message] = await take(messages, 1);
    assert.deepEqual({ ...message }, { op: "message", topic, offset: 1, epoch, data, key: "k", meta: { by: "test" }, reply_to: undefined, replayed: false });
  });

  story(`${name}: bytes stay bytes`, async () => {
    const one = hub({ codec });
    const topic = newTopic();
    const messages = one.subscribe(topic);
    await messages.ready;
    await one.publish(topic, new Uint8Array([0, 1, 255]));
    await one.publish(topic, undefined);
    const [bytes, nothing] = dataOf(await take(messages, 2));
    assert.ok(bytes instanceof Uint8Array);
    assert.deepEqual([...bytes], [0, 1, 255]);
    assert.equal(nothing, null);
    assert.deepEqual([...(await one.history(topic, { limit: 2 })).messages[0].data], [0, 1, 255]);
  });
}

story("who leaves the loop unsubscribes, and the last one tells the server", async () => {
  const [reader, writer] = [hub(), hub()];
  const topic = newTopic();
  const [one, other] = [reader.subscribe(topic), reader.subscribe(topic)];
  await other.ready;
  await state(writer, "open");
  assert.equal((await writer.publish(topic, 1)).subscribers, 1, "equal subscriptions share one");
  for await (const { data } of one) {
    assert.equal(data, 1);
    break;
  }
  assert.equal((await writer.publish(topic, 2)).subscribers, 1);
  assert.deepEqual(dataOf(await take(other, 2)), [1, 2]);
  await other.unsubscribe();
  await until(async () => (await writer.publish(topic, 3)).subscribers === 0, "the server knows");
  for await (const _ of other) assert.fail("nothing comes any more");
});

story("a signal ends a subscription, a command and a hub", async () => {
  const leaving = new AbortController();
  const one = hub({ signal: leaving.signal });
  const topic = newTopic();
  const aborter = new AbortController();
  const messages = one.subscribe(topic, { signal: aborter.signal });
  await messages.ready;
  const loop = (async () => {
    for await (const _ of messages) assert.fail("nothing was published");
  })();
  aborter.abort();
  await loop;
  await assert.rejects(one.publish(topic, 1, { signal: aborter.signal }), { name: "AbortError" });
  const waiting = new AbortController();
  const asked = one.request(topic, 1, { signal: waiting.signal });
  waiting.abort(new Error("too long"));
  await assert.rejects(asked, /too long/);
  leaving.abort();
  assert.equal(one.state, "closed");
  await assert.rejects(one.publish(topic, 1), ClosedError);
});

story("listeners get what loops would, with nobody in a loop", async () => {
  const one = hub();
  const topic = newTopic();
  const messages = one.subscribe(topic, { replay: { last: 1 }, buffer: 1 });
  const heard = [];
  for (const type of ["subscribed", "message", "gap", "end"]) messages.addEventListener(type, ({ detail }) => heard.push([type, detail?.data]));
  await messages.ready;
  for (const data of [1, 2, 3]) await one.publish(topic, data);
  await until(() => heard.length === 4, "three messages");
  await messages.unsubscribe();
  assert.deepEqual(heard, [["subscribed", undefined], ["message", 1], ["message", 2], ["message", 3], ["end", undefined]]);
});

story("history, presence, requests and replies", async () => {
  const [ada, bob] = [hub({ user: "ada" }), hub({ user: "bob", codec: msgpack })];
  const topic = newTopic();
  const room = ada.subscribe(topic, { presence: true });
  await room.ready;
  assert.equal(ada.user, "ada");
  await state(bob, "open");
  for (const data of ["a", "b", "c"]) await bob.publish(topic, data);
  const { messages, more, epoch } = await bob.history(topic, { limit: 2 });
  assert.deepEqual([dataOf(messages), more, messages[0].epoch], [["b", "c"], true, epoch]);
  assert.deepEqual(dataOf((await bob.history(topic, { after: { epoch, offset: 1 } })).messages), ["b", "c"]);
  assert.deepEqual((await bob.presence(topic)).members, [{ user: "ada" }]);

  const asked = bob.request(topic, [1, 2]);
  for await (const message of room) {
    if (!message.reply_to) continue;
    await ada.reply(message, message.data[0] + message.data[1]);
    break;
  }
  assert.equal(await asked, 3);
  await assert.rejects(bob.request(newTopic(), 1), { code: "no_responders", retry: true });
});

story("what the server refuses is a typed error, and the connection lives", async () => {
  const one = hub();
  const denied = one.subscribe("$sys.stats");
  const end = new Promise((resolve) => denied.addEventListener("end", resolve));
  await assert.rejects(denied.ready, (error) => error instanceof CommandError && error.code === "forbidden" && !error.retry);
  assert.equal((await end).detail.code, "forbidden");
  await assert.rejects(denied[Symbol.asyncIterator]().next(), { code: "forbidden" });
  await assert.rejects(one.publish("a.>", 1), { code: "invalid_topic" });
  await assert.rejects(one.publish(newTopic(), "x".repeat(70_000)), { code: "too_large" });
  await assert.rejects(one.publish(newTopic(), 1n), TypeError);
  await assert.rejects(one.subscribe(newTopic(), { presence: { data: 1n } }).ready, TypeError);
  assert.throws(() => (one.subscribe("a.b"), one.subscribe("a.b", { echo: false })), (error) => error instanceof HubError && error.code === "already_subscribed");
  assert.equal(one.state, "open");
  assert.throws(() => connect("ftp://example.org"), TypeError);
});

story("after a cut it goes on where it was, without a gap and without a repeat", async () => {
  const { cut, hub: reader } = await hubToCut();
  const writer = hub();
  const parent = newTopic();
  const topic = `${parent}.x`;
  const plain = reader.subscribe(topic);
  const pattern = reader.subscribe(`${parent}.*`);
  await Promise.all([plain.ready, pattern.ready, state(writer, "open")]);
  for (let round = 0; round < 20; round++) {
    for (let number = 0; number < 10; number++) await writer.publish(topic, round * 10 + number);
    cut.now();
  }
  const wanted = Array.from({ length: 200 }, (_, i) => i);
  for (const subscription of [plain, pattern]) {
    const events = subscription.events();
    const got = [];
    while (got.length < 200) {
      const { value } = await events.next();
      assert.notEqual(value.op, "gap");
      if (value.op === "message") got.push(value.data);
    }
    assert.deepEqual(got, wanted);
  }
});

story("without echo, one's own messages do not come after a cut either", async () => {
  const { cut, hub: one } = await hubToCut();
  const [other, parent] = [hub(), newTopic()];
  const subscriptions = [`${parent}.x`, `${parent}.*`].map((name) => one.subscribe(name, { echo: false }));
  await Promise.all([...subscriptions.map(({ ready }) => ready), state(other, "open")]);
  for (const topic of [`${parent}.x`, `${parent}.y`]) {
    await other.publish(topic, "theirs");
    await one.publish(topic, "mine");
  }
  cut.now();
  for (const topic of [`${parent}.x`, `${parent}.y`]) await other.publish(topic, "theirs again");
  const got = await Promise.all(subscriptions.map((subscription, i) => take(subscription, [2, 4][i])));
  assert.deepEqual(got.map((messages) => dataOf(messages).toSorted()), [["theirs", "theirs again"], ["theirs", "theirs", "theirs again", "theirs again"]]);

  await subscriptions[1].change({ echo: true });
  await one.publish(`${parent}.y`, "mine");
  assert.deepEqual(dataOf(await take(subscriptions[1], 1)), ["mine"]);
});

story("what history could not keep is announced, exactly", async () => {
  const { cut, hub: reader } = await hubToCut();
  const writer = hub();
  const topic = `short.${newTopic()}`;
  const events = reader.subscribe(topic).events();
  assert.equal((await events.next()).value.op, "subscribed");
  await state(writer, "open");
  await writer.publish(topic, 1);
  assert.equal((await events.next()).value.data, 1);
  cut.up = false;
  cut.now();
  for (const data of [2, 3, 4, 5, 6, 7]) await writer.publish(topic, data);
  cut.up = true;
  const told = (await take(events, 5)).map(({ op, from, to, data, recovered, replayed }) => [op, from ?? data ?? recovered, to ?? replayed]);
  assert.deepEqual(told, [["subscribed", false, 3], ["gap", 2, 4], ["message", 5, true], ["message", 6, true], ["message", 7, true]]);
});

story("a publish without a connection is refused, or waits its turn in a bounded queue", async () => {
  const { cut, hub: one } = await hubToCut({ queue: { messages: 2, bytes: 1000 } });
  const topic = newTopic();
  const messages = one.subscribe(topic);
  await messages.ready;
  cut.up = false;
  cut.now();
  await state(one, "waiting");
  await assert.rejects(one.publish(topic, 1), (error) => error instanceof OfflineError && error.code === "not_connected");
  await assert.rejects(one.publish(topic, "x".repeat(1001), { offline: "queue" }), { code: "queue_full" });
  const aborter = new AbortController();
  const taken = one.publish(topic, "taken back", { offline: "queue", signal: aborter.signal });
  aborter.abort();
  await assert.rejects(taken, { name: "AbortError" });
  const queued = [one.publish(topic, 2, { offline: "queue" }), one.publish(topic, 3, { offline: "queue" })];
  await assert.rejects(one.publish(topic, 4, { offline: "queue" }), { code: "queue_full" });
  cut.up = true;
  assert.deepEqual((await Promise.all(queued)).map(({ offset }) => offset), [1, 2]);
  assert.deepEqual(dataOf(await take(messages, 2)), [2, 3]);
});

story("a publish under way is repeated if it has a name, and rejected if not", async () => {
  const { cut, hub: one } = await hubToCut();
  const topic = newTopic();
  await state(one, "open");
  const lost = one.publish(topic, "who knows");
  const named = one.publish(topic, "once", { dedup: "n1" });
  cut.now();
  await assert.rejects(lost, ConnectionLost);
  await named;
  const { messages } = await one.history(topic);
  assert.equal(dataOf(messages).filter((data) => data === "once").length, 1);
});

story("who reads too slowly misses the oldest, and is told which, or is ended", async () => {
  const one = hub();
  const topic = newTopic();
  const events = one.subscribe(topic, { buffer: 3 }).events();
  assert.equal((await events.next()).value.op, "subscribed");
  for (let data = 1; data <= 8; data++) await one.publish(topic, data);
  const told = (await take(events, 4)).map(({ op, from, to, data, why }) => (op === "gap" ? [from, to, why] : data));
  assert.deepEqual(told, [[1, 5, "buffer"], 6, 7, 8]);

  const strict = newTopic();
  const ended = one.subscribe(strict, { buffer: 2, overflow: "error" });
  await ended.ready;
  await take(ended.events(), 1);
  for (let data = 1; data <= 3; data++) await one.publish(strict, data);
  const got = [];
  await assert.rejects(async () => {
    for await (const { data } of ended) got.push(data);
  }, BufferOverflow);
  assert.deepEqual(got, [1, 2]);
  await until(async () => (await one.publish(strict, 0)).subscribers === 0, "it has unsubscribed");
});

story("two clients from one position get the same", async () => {
  const writer = hub();
  const topic = newTopic();
  await state(writer, "open");
  const { epoch } = await writer.publish(topic, 1);
  for (const data of [2, 3]) await writer.publish(topic, data);
  const replay = { after: { epoch, offset: 1 } };
  for (const reader of [hub(), hub()]) assert.deepEqual(dataOf(await take(reader.subscribe(topic, { replay }), 2)), [2, 3]);
});
