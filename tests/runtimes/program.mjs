/** A program for any JavaScript there is, beside the client as it was built: `clients/js/test/runtimes.test.mjs` runs it, cuts its network when it asks for it, and reads what it says at its end. */

import { connect } from "./index.js";
import { msgpack } from "./msgpack.js";

const [, , cut, host] = process.argv;
const said = [];

for (const options of [{ transports: ["websocket"] }, { transports: ["websocket"], codec: msgpack }, { transports: ["events"] }]) {
  const hub = connect(`http://${cut}`, { ...options, backoff: { base: 20, max: 100 } });
  const writer = connect(`http://${host}`, { ...options, offline: "queue" });
  const topic = `runtime.${said.length}.${process.argv[4]}`;
  const events = hub.subscribe(topic).events();
  await events.next();
  const { offset } = await hub.publish(topic, { n: 1 });
  const got = [(await events.next()).value.data];
  const away = new Promise((resolve) => hub.addEventListener("state", ({ detail }) => detail.state === "waiting" && resolve()));
  console.log("cut");
  await away;
  await writer.publish(topic, new Uint8Array([1, 2, 3]));
  for await (const event of events) {
    if (event.op === "gap") got.push("gap");
    if (event.op !== "message") continue;
    got.push([...event.data], event.replayed);
    break;
  }
  said.push({ way: hub.transport, offset, got });
  for (const one of [hub, writer]) one.close();
}

const nobody = connect("http://127.0.0.1:9");
await new Promise((resolve) => nobody.addEventListener("state", ({ detail }) => detail.state === "waiting" && resolve()));
nobody.close();
console.log(JSON.stringify(said));
