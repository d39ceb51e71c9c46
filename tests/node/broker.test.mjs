/** The broker as Node programs see it. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, afterEach, before, test } from "node:test";
import { encode, ExtData } from "@msgpack/msgpack";
import WebSocket from "ws";
import { Peer } from "./peer.mjs";
import { DEADLINE_MS, Server } from "./server.mjs";

const JSON_TEXT = "pubsub.json";
const MSGPACK = "pubsub.msgpack";
const BOTH = [JSON_TEXT, MSGPACK];
/** Stock HTTP stacks linger up to a second on an upgraded socket; half of it tells us apart on a busy machine. */
const AT_ONCE_MS = 500;

/** @type {Server} */
let server;
/** @type {Peer[]} */
let peers = [];
let topics = 0;

before(async () => {
  server = await Server.start();
});

afterEach(() => {
  for (const peer of peers) peer.socket.terminate();
  peers = [];
});

after(() => server?.stop());

/**
 * @param {string[]} subprotocols
 * @param {WebSocket.ClientOptions} [options]
 */
async function connect(subprotocols, options) {
  const peer = await Peer.connect(server.host, subprotocols, options);
  peers.push(peer);
  return peer;
}

const newTopic = () => `node.${++topics}`;

/**
 * A story: a test with a deadline.
 * @param {string} name
 * @param {() => Promise<void>} tell
 */
const story = (name, tell) => test(name, { timeout: 4 * DEADLINE_MS }, tell);

for (const subprotocol of BOTH) {
  story(`${subprotocol}: the welcome comes first and names the limits`, async () => {
    const peer = await connect([subprotocol]);
    assert.equal(peer.socket.protocol, subprotocol);
    assert.match(peer.welcome.session, /^[0-9a-f-]{36}$/);
    assert.equal(peer.welcome.protocol, 1);
    assert.equal(peer.welcome.ping_ms, 25_000);
    assert.equal(peer.welcome.limits.message_bytes, 65_536);
  });

  story(`${subprotocol}: what is published arrives`, async () => {
    const [reader, writer] = [await connect([subprotocol]), await connect([subprotocol])];
    const topic = newTopic();
    const { epoch, offset } = await reader.subscribe(topic);
    assert.equal(offset, 0);
    const data = { price: 190.2, tags: ["grüße 🎉", null, true], deep: { er: [[]] } };
    assert.deepEqual(await writer.publish(topic, data), {
      op: "published",
      topic,
      epoch,
      offset: 1,
      subscribers: 1,
    });
    assert.deepEqual(await reader.push(), { op: "message", topic, offset: 1, epoch, data });
  });

  story(`${subprotocol}: errors keep the id and the connection`, async () => {
    const peer = await connect([subprotocol]);
    const codes = [
      await peer.ask("publish", { topic: "a.>", data: 1 }),
      await peer.ask("unsubscribe", { topic: newTopic() }),
      await peer.ask("dance"),
      await peer.ask("subscribe", { topic: 7 }),
    ].map(({ op, code, retry }) => [op, code, retry]);
    assert.deepEqual(codes, [
      ["error", "invalid_topic", false],
      ["error", "not_subscribed", false],
      ["error", "unknown_op", false],
      ["error", "bad_request", false],
    ]);
    assert.deepEqual(await peer.ask("ping"), { op: "pong" });
  });

  story(`${subprotocol}: an offer to compress is accepted, and both sides do`, async () => {
    const peer = await connect([subprotocol], { perMessageDeflate: { threshold: 0 } });
    assert.equal(peer.socket.extensions, "permessage-deflate");
    const topic = newTopic();
    await peer.subscribe(topic);
    await peer.publish(topic, "x".repeat(50_000));
    assert.equal((await peer.push()).data.length, 50_000);
  });

  story(`${subprotocol}: a message in fragments is one message`, async () => {
    const peer = await connect([subprotocol]);
    const topic = newTopic();
    await peer.subscribe(topic);
    const command = { op: "publish", topic, data: "grüße".repeat(100) };
    const whole = peer.isText ? Buffer.from(JSON.stringify(command)) : Buffer.from(encode(command));
    for (let at = 0; at < whole.length; at += 11) {
      const fin = at + 11 >= whole.length;
      peer.socket.send(whole.subarray(at, at + 11), { binary: !peer.isText, fin });
    }
    assert.equal((await peer.push()).data, command.data);
  });

  story(`${subprotocol}: a message over the limit closes with 1009`, async () => {
    const peer = await connect([subprotocol]);
    peer.socket.send(Buffer.alloc(65_537, " "), { binary: !peer.isText });
    assert.equal((await peer.closed()).code, 1009);
  });

  story(`${subprotocol}: the wrong frame type closes with 1003, and a goodbye says so`, async () => {
    const peer = await connect([subprotocol]);
    peer.socket.send(peer.isText ? Buffer.from([0x80]) : "{}");
    const goodbye = await peer.push("goodbye");
    assert.deepEqual([goodbye.code, goodbye.reconnect], [1003, "never"]);
    assert.deepEqual(await peer.closed(), { code: 1003, reason: goodbye.reason });
  });

  story(`${subprotocol}: a close is answered at once`, async () => {
    const peer = await connect([subprotocol]);
    const start = performance.now();
    peer.socket.close(1000, "done");
    assert.equal((await peer.closed()).code, 1000);
    assert.ok(performance.now() - start < AT_ONCE_MS);
  });

  story(`${subprotocol}: a ping is answered with its payload`, async () => {
    const peer = await connect([subprotocol]);
    const pong = once(peer.socket, "pong");
    peer.socket.ping("are you there?");
    assert.equal(String((await pong)[0]), "are you there?");
  });

  story(`${subprotocol}: a thousand messages arrive in order`, async () => {
    const [reader, writer] = [await connect([subprotocol]), await connect(BOTH)];
    const topic = newTopic();
    const { epoch } = await reader.subscribe(topic);
    for (let number = 0; number < 1000; number++) writer.send({ op: "publish", topic, data: number });
    for (let number = 0; number < 1000; number++) {
      const first = number === 0 ? { epoch } : {};
      assert.deepEqual(await reader.push(), { op: "message", topic, offset: number + 1, ...first, data: number });
    }
  });
}

story("the client's order of preference decides", async () => {
  for (const [offered, chosen] of /** @type {[string[], string][]} */ ([
    [[JSON_TEXT, MSGPACK], JSON_TEXT],
    [[MSGPACK, JSON_TEXT], MSGPACK],
    [["mqtt", MSGPACK, "wamp.2.json"], MSGPACK],
  ])) {
    assert.equal((await connect(offered)).socket.protocol, chosen);
  }
});

story("without a subprotocol it is JSON", async () => {
  const peer = await connect([]);
  assert.equal(peer.socket.protocol, "");
  assert.deepEqual(await peer.ask("ping"), { op: "pong" });
});

story("unknown subprotocols are refused with a problem that names ours", async () => {
  const socket = new WebSocket(`ws://${server.host}/ws`, ["mqtt"]);
  const [request, response] = await once(socket, "unexpected-response");
  assert.equal(response.statusCode, 400);
  assert.equal(response.headers["content-type"], "application/problem+json");
  let body = "";
  for await (const chunk of response) body += chunk;
  const problem = JSON.parse(body);
  assert.equal(problem.code, "bad_request");
  for (const name of BOTH) assert.ok(problem.detail.includes(name), problem.detail);
  request.destroy();
});

story("an upgrade elsewhere is not found", async () => {
  const socket = new WebSocket(`ws://${server.host}/elsewhere`, BOTH);
  const [request, response] = await once(socket, "unexpected-response");
  assert.equal(response.statusCode, 404);
  request.destroy();
});

story("JSON and MessagePack hear the same", async () => {
  const [json, msgpack] = [await connect([JSON_TEXT]), await connect([MSGPACK])];
  const topic = newTopic();
  for (const peer of [json, msgpack]) await peer.subscribe(topic);

  await json.publish(topic, { n: 1.5, s: "é" });
  for (const peer of [json, msgpack]) assert.deepEqual((await peer.push()).data, { n: 1.5, s: "é" });

  await msgpack.publish(topic, new Uint8Array([0, 1, 255]));
  assert.equal((await json.push()).data_base64, "AAH/");
  assert.deepEqual([...(await msgpack.push()).data], [0, 1, 255]);

  await json.ask("publish", { topic, data_base64: "AAH/" });
  assert.equal((await json.push()).data_base64, "AAH/");
  assert.deepEqual([...(await msgpack.push()).data], [0, 1, 255]);
});

story("times and extensions of MessagePack have a form in JSON", async () => {
  const [json, msgpack] = [await connect([JSON_TEXT]), await connect([MSGPACK])];
  const topic = newTopic();
  await json.subscribe(topic);
  await msgpack.publish(topic, { at: new Date(Date.UTC(2024, 1, 29, 12, 0, 0, 500)), ext: new ExtData(5, Uint8Array.of(1)), nan: NaN });
  assert.deepEqual((await json.push()).data, {
    at: "2024-02-29T12:00:00.5Z",
    ext: { ext: 5, data_base64: "AQ==" },
    nan: null,
  });
});

story("echo: false withholds one's own", async () => {
  const [one, other] = [await connect([JSON_TEXT]), await connect([MSGPACK])];
  const topic = newTopic();
  await one.subscribe(topic, { echo: false });
  await one.publish(topic, "mine");
  await other.publish(topic, "theirs");
  assert.equal((await one.push()).data, "theirs");
  assert.deepEqual(one.unheard, []);
});

story("a push over the client's own limit ends that client's connection only", async () => {
  const [small, writer] = [await connect([JSON_TEXT], { maxPayload: 1024 }), await connect([JSON_TEXT])];
  const topic = newTopic();
  await small.subscribe(topic);
  await writer.publish(topic, "x".repeat(2048));
  assert.equal((await small.closed()).code, 1006);
  await writer.publish(topic, "and the server goes on");
});

story("what fetch posts reaches subscribers", async () => {
  const reader = await connect([MSGPACK]);
  const topic = newTopic();
  await reader.subscribe(topic);
  const answer = await fetch(`http://${server.host}/topics/${topic}`, { method: "POST", body: '{"home":3}', headers: { "content-type": "application/json" } });
  assert.equal(answer.status, 200);
  const { epoch, offset } = /** @type {{ epoch: string, offset: number }} */ (await answer.json());
  assert.deepEqual(await reader.push(), { op: "message", topic, offset, epoch, data: { home: 3 } });
});
