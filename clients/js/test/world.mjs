/** What stories share: a server of their own, hubs that are closed at their end, and conditions that are waited for. */

import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { connect } from "../dist/index.js";
import { DEADLINE_MS } from "../../../tests/node/server.mjs";

export { DEADLINE_MS, Server } from "../../../tests/node/server.mjs";

const hubs = [];
const ends = [];
let rejected = [];
process.on("unhandledRejection", (reason) => rejected.push(reason));

/** A hub that is closed when the story is over. */
export function hubAt(host, options) {
  const hub = connect(host.includes("/") ? host : `http://${host}`, options);
  hubs.push(hub);
  return hub;
}

/** What is to be ended when the story is over. */
export function endLater(end) {
  ends.push(end);
}

afterEach(async () => {
  for (const hub of hubs.splice(0)) hub.close();
  for (const end of ends.splice(0)) await end();
  await new Promise((resolve) => setImmediate(resolve));
  const unhandled = rejected;
  rejected = [];
  assert.deepEqual(unhandled, [], "no rejection is left unhandled");
});

/** A test with a deadline. */
export const story = (name, tell, deadlineMs = 3 * DEADLINE_MS) => test(name, { timeout: deadlineMs }, tell);

/** Waits for what `condition` returns. */
export async function until(condition, what, deadlineMs = DEADLINE_MS) {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (performance.now() > end) assert.fail(`${what}: not within ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5)); // to look again
  }
}

/** Resolves when a hub is in a state. */
export function state(hub, wanted) {
  return until(() => hub.state === wanted, `the state ${wanted}, not ${hub.state}`);
}

/** The next so many of an iterable. */
export async function take(iterable, count) {
  const taken = [];
  const iterator = iterable[Symbol.asyncIterator]();
  while (taken.length < count) {
    const { done, value } = await iterator.next();
    if (done) assert.fail(`it ended after ${taken.length}`);
    taken.push(value);
  }
  return taken;
}

export const dataOf = (messages) => messages.map(({ data }) => data);

let topics = 0;
export const newTopic = () => `js.${process.pid}.${++topics}`;

/** A server for all stories of a file, with a history that is long enough. */
export function serverOf(Server, more = []) {
  const box = {};
  after(() => box.server?.stop());
  return async () => (box.server ??= await Server.start(more));
}
