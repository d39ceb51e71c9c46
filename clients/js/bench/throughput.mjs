/**
 * Messages through one subscription beside the same frames read by raw `ws` and JSON.parse: CPU per message as a ratio, and memory.
 *
 *     npm run bench            [MESSAGES=1000000] [ROUNDS=5] [RATE=100000]
 *
 * Both read from the same small server, which sends frames as they are on the wire, in a process of its own. First as fast as each can, in turns, to
 * compare CPU; then the client at RATE messages a second, to see that it keeps up and that memory does not grow.
 */

import { fork } from "node:child_process";
import { once } from "node:events";
import WebSocket, { WebSocketServer } from "ws";
import { connect } from "../dist/index.js";

const MESSAGES = Number(process.env.MESSAGES ?? 1_000_000);
const ROUNDS = Number(process.env.ROUNDS ?? 5);
const RATE = Number(process.env.RATE ?? 100_000);
const RATIO_MAX = 1.3;
const GROWTH_MAX_MIB = 64;
const TOPIC = "ticker.AAPL";

if (process.argv[2] === "serve") serve();
else await measure();

/** A hub that knows one thing: to send so many messages, `?rate=` a second or as fast as they are taken. */
function serve() {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false, path: "/ws" }, () => process.send(server.address().port));
  server.on("connection", (socket, request) => {
    const rate = Number(new URL(request.url, "http://bench").searchParams.get("rate"));
    socket.send(JSON.stringify({ op: "welcome", session: "bench", protocol: 1, ping_ms: 25_000 }));
    socket.on("message", (text) => {
      const command = JSON.parse(text);
      if (command.op !== "subscribe") return;
      socket.send(JSON.stringify({ op: "subscribed", id: command.id, topic: TOPIC, epoch: "k3v9", offset: 0, replayed: 0, recovered: true }));
      const begun = performance.now();
      let sent = 0;
      const pump = () => {
        const due = rate ? Math.min(MESSAGES, Math.floor(((performance.now() - begun) / 1000) * rate)) : MESSAGES;
        while (sent < due && socket.bufferedAmount < 1 << 20) {
          sent += 1;
          const epoch = sent === 1 ? '"epoch":"k3v9",' : "";
          socket.send(`{"op":"message","topic":"${TOPIC}","offset":${sent},${epoch}"data":{"symbol":"AAPL","price":${100 + (sent % 1000) / 10},"size":${sent % 500},"at":1795276800000}}`);
        }
        if (sent < MESSAGES) setTimeout(pump, rate ? 2 : 0);
      };
      pump();
    });
  });
  process.on("disconnect", () => process.exit());
}

async function measure() {
  const server = fork(import.meta.filename, ["serve"], { env: { ...process.env, MESSAGES } });
  const [port] = await once(server, "message");
  const url = `ws://127.0.0.1:${port}/ws`;
  const ratios = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const raw = await cpuOf(() => readRaw(url));
    const client = await cpuOf(() => readClient(url));
    if (round === 0) continue; // to warm up
    ratios.push(client / raw);
    console.log(`round ${round}: raw ws ${perMessage(raw)}, client ${perMessage(client)}, ratio ${(client / raw).toFixed(2)}`);
  }
  ratios.sort((a, b) => a - b);
  const ratio = ratios[Math.floor(ratios.length / 2)];
  console.log(`median ratio of CPU: ${ratio.toFixed(2)} (at most ${RATIO_MAX})`);

  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  let peak = before;
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 100);
  const begun = performance.now();
  const gaps = await readClient(`${url}?rate=${RATE}`);
  clearInterval(watch);
  const seconds = (performance.now() - begun) / 1000;
  const growth = (peak - before) / 2 ** 20;
  console.log(`${Math.round(MESSAGES / seconds)} messages/s of ${RATE} asked for, ${gaps} gaps, memory grew by at most ${growth.toFixed(0)} MiB (at most ${GROWTH_MAX_MIB})`);
  server.disconnect();
  if (ratio > RATIO_MAX || gaps > 0 || growth > GROWTH_MAX_MIB || MESSAGES / seconds < RATE * 0.95) process.exitCode = 1;
}

function perMessage(micros) {
  return `${(micros / MESSAGES).toFixed(2)} µs`;
}

async function cpuOf(read) {
  globalThis.gc?.();
  const before = process.cpuUsage();
  await read();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** The least a program can do: parse each message and look at its data. */
function readRaw(url) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, ["pubsub.json"], { perMessageDeflate: false });
    let sum = 0;
    let count = 0;
    socket.on("open", () => socket.send(JSON.stringify({ op: "subscribe", id: 1, topic: TOPIC })));
    socket.on("message", (bytes) => {
      const map = JSON.parse(bytes.toString());
      if (map.op !== "message") return;
      sum += map.data.price;
      if (++count < MESSAGES) return;
      socket.close();
      resolve(sum);
    });
  });
}

/** The same through a subscription; returns how many gaps there were. */
async function readClient(url) {
  const hub = connect(url, { transports: ["websocket"] });
  let sum = 0;
  let count = 0;
  let gaps = 0;
  const subscription = hub.subscribe(TOPIC, { buffer: 100_000 });
  subscription.addEventListener("gap", () => (gaps += 1));
  for await (const { data } of subscription) {
    sum += data.price;
    if (++count === MESSAGES) break;
  }
  hub.close();
  return gaps + Number(Number.isNaN(sum));
}
