/**
 * A back end that publishes prices: one a second, each under a name of its own, so that none is lost or comes twice when the network breaks.
 *
 *     node publisher.mjs http://127.0.0.1:8080 [COUNT]        TOPICHUB_TOKEN=… where the hub asks for one
 */

import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { connect } from "@topichub/client";

const [url = "http://127.0.0.1:8080", count = "Infinity"] = process.argv.slice(2);
const token = process.env.TOPICHUB_TOKEN;

const hub = connect(url, { offline: "queue", ...(token && { token }) });
hub.addEventListener("state", ({ detail }) => console.error(detail.state, detail.reason ?? ""));
process.once("SIGINT", () => hub.close());

let price = 190;
try {
  for (let number = 1; number <= Number(count); number++) {
    price = Math.round((price + (Math.random() - 0.5) * 2) * 100) / 100;
    const { offset, subscribers } = await hub.publish("ticker.AAPL", { price, number }, { dedup: randomUUID() });
    console.log(`${offset}: ${price}, to ${subscribers}`);
    if (number < Number(count)) await pause(1000);
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  hub.close();
}
