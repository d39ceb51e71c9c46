/** Networks and servers that do not do what they should. */

import assert from "node:assert/strict";
import { ClosedError } from "../dist/index.js";
import { FakeHub } from "./fake.mjs";
import { PlayedClock, playedHub, playedSockets, settle } from "./played.mjs";
import { dataOf, endLater, hubAt, state, story, take, until } from "./world.mjs";

async function fakeHub(how = {}) {
  const fake = Object.assign(await FakeHub.start(), how);
  endLater(() => fake.stop());
  return fake;
}

const quick = { backoff: { base: 20, max: 50 } };

for (const [way, how] of [["events", {}], ["poll", { streams: "missing" }]]) {
  story(`where WebSockets are killed, ${way} carries everything`, async () => {
    const fake = await fakeHub(how);
    const hub = hubAt(fake.host, quick);
    const [one, other] = [hub.subscribe("a.b"), hub.subscribe("c.d", { replay: { last: 5 } })];
    await Promise.all([one.ready, other.ready]);
    assert.equal(hub.transport, way);
    assert.equal((await hub.publish("a.b", { n: 1 })).offset, 1);
    for (const n of [2, 3]) fake.publish("a.b", { n });
    assert.deepEqual(dataOf(await take(one, 3)), [{ n: 1 }, { n: 2 }, { n: 3 }]);

    // A later subscription begins another stream, which the others go on in.
    for (const n of [1, 2, 3]) fake.publish("e.f", n);
    const late = hub.subscribe("e.f", { replay: { last: 2 } });
    assert.deepEqual(dataOf(await take(late, 2)), [2, 3]);
    fake.publish("c.d", "x");
    assert.deepEqual(dataOf(await take(other, 1)), ["x"]);

    // And a cut is no loss.
    fake.cut();
    for (const n of [4, 5]) fake.publish("a.b", { n });
    assert.deepEqual(dataOf(await take(one, 2)), [{ n: 4 }, { n: 5 }]);
    await assert.rejects(hub.request("a.b", 1), { code: "unavailable" });
    await late.unsubscribe();
  });
}

story("what has worked is tried first by the next hub, and the WebSocket again after a while", async () => {
  const fake = await fakeHub();
  const clock = new PlayedClock();
  const first = hubAt(fake.host, quick);
  await state(first, "open");
  fake.asked.length = 0;
  const hub = hubAt(fake.host, { ...quick, clock });
  await until(() => hub.state === "open", "it is open");
  assert.ok(!fake.asked.includes("websocket"), "no WebSocket was tried");
  assert.equal(hub.transport, "events");

  fake.upgrades = "serve";
  await clock.advance(120_000);
  await until(async () => (await settle(), hub.transport === "websocket" && hub.state === "open"), "it is a WebSocket");
});

story("a network that comes back while a stream is being opened does not make it a WebSocket", async () => {
  const network = new EventTarget();
  globalThis.addEventListener = network.addEventListener.bind(network);
  endLater(() => delete globalThis.addEventListener);
  const fake = await fakeHub();
  const hub = hubAt(fake.host, quick);
  await hub.subscribe("a").ready;

  fake.asked.length = 0;
  let go;
  fake.held = new Promise((resolve) => (go = resolve));
  fake.cut();
  await until(() => hub.state === "connecting" && fake.asked.length > 0, "the server is asked");
  network.dispatchEvent(new Event("online"));
  go();
  await until(() => hub.state === "open", "it is open");
  assert.equal(hub.transport, "events");

  fake.asked.length = 0;
  await state(hubAt(fake.host, quick), "open");
  assert.ok(!fake.asked.includes("websocket"), "what has worked is remembered");
});

story("a transport that does not exist ends the hub when it is its turn", async () => {
  const fake = await fakeHub();
  const cases = [
    [["websokcet"], "websokcet", []],
    [["sse", "events"], "sse", []],
    [["websocket", "polling"], "polling", ["websocket"]],
  ];
  for (const [transports, name, asked] of cases) {
    fake.asked.length = 0;
    const hub = hubAt(fake.host, { ...quick, transports });
    const said = new RegExp(`no transport is called "${name}": there are websocket, events and poll`);
    await assert.rejects(take(hub.subscribe("a"), 1), (error) => error instanceof ClosedError && said.test(error.message));
    assert.deepEqual([hub.state, fake.asked], ["closed", asked]);
  }
});

story("a close without a goodbye says by its code whether to come back", async () => {
  const fake = await fakeHub({ upgrades: "serve" });
  const { greets } = fake;
  const closes = [];
  fake.greets = (socket) => {
    greets(socket);
    socket.close(closes.shift(), "said by the fake");
  };
  closes.push(4201, 4003);
  const hub = hubAt(fake.host, { ...quick, transports: ["websocket"] });
  const codes = [];
  hub.addEventListener("state", ({ detail }) => detail.code && codes.push([detail.state, detail.code, detail.reason]));
  await state(hub, "closed");
  assert.deepEqual(codes, [["waiting", 4201, "said by the fake"], ["closed", 4003, "said by the fake"]]);
});

story("a proxy that keeps streams back leads to the poll", async () => {
  const fake = await fakeHub({ streams: "buffer" });
  const clock = new PlayedClock();
  const hub = hubAt(fake.host, { ...quick, clock });
  const messages = hub.subscribe("a.b");
  await until(() => fake.asked.includes("stream"), "a stream was tried");
  await settle();
  await clock.advance(10_000);
  await until(() => hub.transport === "poll" && hub.state === "open", "it polls");
  await messages.ready;
  fake.publish("a.b", 1);
  assert.deepEqual(dataOf(await take(messages, 1)), [1]);
});

story("a captive portal is waited out", async () => {
  const fake = await fakeHub({ upgrades: "page", streams: "page", polls: "page", rest: "page" });
  const hub = hubAt(fake.host, quick);
  const states = new Set();
  hub.addEventListener("state", ({ detail }) => states.add(detail.state));
  const messages = hub.subscribe("a.b");
  await until(() => fake.asked.filter((what) => what === "websocket").length > 2, "it tries again");
  assert.deepEqual([...states].filter((name) => !["connecting", "waiting"].includes(name)), []);
  Object.assign(fake, { upgrades: "kill", streams: "serve", polls: "serve", rest: "serve" });
  await messages.ready;
});

story("one subscription that is forbidden does not take the others along", async () => {
  const fake = await fakeHub({ forbidden: new Set(["secret.x"]) });
  const hub = hubAt(fake.host, quick);
  const [open, secret, more] = ["open.x", "secret.x", "more.x"].map((topic) => hub.subscribe(topic));
  await assert.rejects(secret.ready, { code: "forbidden" });
  await Promise.all([open.ready, more.ready]);
  fake.publish("open.x", 1);
  assert.deepEqual(dataOf(await take(open, 1)), [1]);
  await assert.rejects(hub.subscribe("secret.x").ready, { code: "forbidden" });
  assert.equal(hub.state, "open");
});

story("a token that stays expired ends a hub over HTTP, after one fresh one", async () => {
  const fake = await fakeHub({ token: "good" });
  let asked = 0;
  const bad = hubAt(fake.host, { ...quick, token: () => `bad ${++asked}` });
  const messages = bad.subscribe("a.b");
  await assert.rejects(messages.ready, (error) => error instanceof ClosedError && error.code === "unauthorized" && error.status === 401);
  assert.equal(bad.state, "closed");
  assert.equal(asked, 2);
  const tokens = ["old", "good"];
  await hubAt(fake.host, { ...quick, token: () => tokens.shift() }).subscribe("a.b").ready;
});

story("a server of another protocol, and one that speaks garbage, are left alone for longer and longer", async () => {
  const fake = await fakeHub({ upgrades: "serve", greets: (socket) => socket.send(Buffer.from([0xff, 0x00])) });
  const hub = hubAt(fake.host, { ...quick, transports: ["websocket"] });
  const waits = [];
  hub.addEventListener("state", ({ detail }) => detail.state === "waiting" && waits.push(detail));
  await until(() => waits.length >= 3, "it comes back");
  assert.match(waits[0].reason, /not this protocol/);
  fake.greets = (socket) => socket.send("[1,2]");
  await until(() => waits.length >= 5, "it comes back");
  fake.protocol = "chat.v1";
  const before = waits.length;
  await until(() => waits.length >= before + 2, "it comes back");
});

story("a token source that fails is asked again, and one that hangs is given up on", async () => {
  const fake = await fakeHub({ upgrades: "serve" });
  let asked = 0;
  const hub = hubAt(fake.host, { ...quick, transports: ["websocket"], token: async () => {
    if (++asked < 3) throw new Error("no network to fetch a token");
    return "good";
  } });
  await state(hub, "open");
  assert.equal(asked, 3);
  const clock = new PlayedClock();
  const hung = hubAt(fake.host, { clock, transports: ["websocket"], token: () => new Promise(() => {}) });
  await settle();
  await clock.advance(10_000);
  assert.equal(hung.state, "waiting");
});

story("a connection on which the server's heartbeat stops is dead, and one on which it is heard is not", async () => {
  const { hub, clock, socket } = playedHub();
  await settle();
  socket().says({ op: "welcome", session: "s", protocol: 1, ping_ms: 25_000 });
  await clock.advance(30_000);
  socket().pings();
  await clock.advance(34_999);
  assert.equal(hub.state, "open");
  assert.deepEqual(socket().said, [], "who hears pings need not ask");
  await clock.advance(1);
  assert.equal(hub.state, "waiting");
  assert.equal(socket().closed, 1000);
  hub.close();
});

story("where heartbeats cannot be heard, silence is asked about", async () => {
  const { PlayedSocket, opened } = playedSockets();
  delete PlayedSocket.prototype.on; // as in browsers
  const { hub, clock } = playedHub({ WebSocket: PlayedSocket });
  await settle();
  opened[0].says({ op: "welcome", session: "s", protocol: 1, ping_ms: 25_000 });
  await clock.advance(24_999);
  assert.deepEqual(opened[0].said, []);
  await clock.advance(1);
  assert.deepEqual(opened[0].said, [{ op: "ping" }]);
  opened[0].says({ op: "pong" });
  await clock.advance(25_000 + 7_999);
  assert.deepEqual([hub.state, opened[0].said.length], ["open", 2]);
  await clock.advance(1);
  assert.equal(hub.state, "waiting", "8 s without a pong");
  hub.close();
});
