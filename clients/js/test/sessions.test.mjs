/** protocol/vectors/sessions.json: whole sessions, step by step, on a network and a clock of the test's own. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { playedHub, settle } from "./played.mjs";

const vectors = process.env.TOPICHUB_SESSIONS ?? new URL("../../../protocol/vectors/sessions.json", import.meta.url);
const { sessions } = JSON.parse(readFileSync(vectors, "utf8"));

assert.ok(sessions.length > 0);
for (const { name, values = {}, steps } of sessions) {
  test(name, { timeout: 10_000 }, async () => {
    const played = new Played(values);
    try {
      for (const [i, step] of steps.entries()) {
        const [kind] = Object.keys(step);
        assert.equal(typeof played[kind], "function", `a step that is not known: ${kind}`);
        try {
          await played[kind](step[kind]);
        } catch (error) {
          error.message = `step ${i + 1}, ${JSON.stringify(step)}: ${error.message}`;
          throw error;
        }
        await settle();
      }
    } finally {
      played.world?.hub.close();
      await settle();
      assert.equal(played.world?.clock.timers, 0, "no timer is left behind");
    }
  });
}

class Played {
  #ids = new Map(); // $n -> what the client has chosen
  #values;
  #read = new Map(); // socket -> how much of what was said has been looked at
  #subscriptions = new Map();
  #events = new Map();
  #last = new Map();
  #settled = new Map();

  constructor(values) {
    this.#values = values;
  }

  /** The map with what `$…` stands for. */
  #filled(value) {
    if (typeof value === "string" && value.startsWith("$")) return this.#ids.get(value) ?? this.#values[value] ?? `value-of-${value.slice(1)}`;
    if (Array.isArray(value)) return value.map((one) => this.#filled(one));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, this.#filled(one)]));
    return value;
  }

  get #socket() {
    return this.world.socket();
  }

  async connect({ tokens, ...options }) {
    if (tokens) options.token = () => tokens.shift();
    this.world = playedHub(options);
    this.next = 0; // which of its sockets the next step is about
    await settle();
  }

  #dialled() {
    this.next += 1;
    assert.equal(this.world.opened.length, this.next, "connections tried");
  }

  open() {
    this.#dialled();
    assert.deepEqual(this.#socket.protocols, ["pubsub.json"]);
  }

  unreachable() {
    this.#dialled();
    this.#socket.ends(1006);
  }

  refuse({ status, retry_after_s, code }) {
    this.#dialled();
    const headers = retry_after_s === undefined ? {} : { "retry-after": String(retry_after_s) };
    this.#socket.refuses(status, headers, code ? JSON.stringify({ type: "about:blank", status, code, detail: "said by the story" }) : "<html>");
  }

  server(map) {
    this.#socket.says(this.#filled(map));
  }

  async server_any_order(maps) {
    for (const map of maps) await this.server(map);
  }

  server_text(text) {
    this.#socket.says(text);
  }

  client(wanted) {
    const said = this.#socket.said[this.#read.get(this.#socket) ?? 0];
    assert.ok(said, "the client says nothing");
    this.#read.set(this.#socket, (this.#read.get(this.#socket) ?? 0) + 1);
    if (typeof wanted.id === "string" && !this.#ids.has(wanted.id)) this.#ids.set(wanted.id, said.id);
    assert.deepEqual(said, this.#filled(wanted));
  }

  quiet() {
    assert.deepEqual(this.#socket.said.slice(this.#read.get(this.#socket) ?? 0), []);
  }

  client_close({ code }) {
    assert.notEqual(this.#socket.closed, undefined, "the client has not closed");
    if (code !== undefined) assert.equal(this.#socket.closed, code);
  }

  close({ code, reason }) {
    this.#socket.ends(code, reason);
  }

  cut() {
    this.#socket.ends(1006);
  }

  async waits([min, max]) {
    const { clock, states, opened } = this.world;
    await settle();
    assert.equal(this.world.hub.state, "waiting");
    assert.equal(states.at(-1).retry_ms, min + (max - min) / 2, "the middle of the range");
    const before = opened.length;
    await clock.advance((max - min) / 2 + min - 1);
    assert.equal(opened.length, before, "not before");
    await clock.advance(1);
  }

  advance(ms) {
    return this.world.clock.advance(ms);
  }

  others() {}

  app(act) {
    const { hub } = this.world;
    const settled = (label, promise) => promise.then((value) => this.#settled.set(label, { value }), (error) => this.#settled.set(label, { error }));
    const last = () => ({ reply_to: this.#last.get(act.reply_to_last).reply_to });
    if (act.subscribe) {
      const subscription = hub.subscribe(act.subscribe, act.options);
      this.#subscriptions.set(act.as, subscription);
      const events = [];
      this.#events.set(act.as, events);
      settled(act.as, (async () => {
        for await (const event of subscription.events()) events.push(event);
      })());
    } else if (act.change) settled(act.as, this.#subscriptions.get(act.change).change(act.options));
    else if (act.unsubscribe) void this.#subscriptions.get(act.unsubscribe).unsubscribe();
    else if (act.publish) settled(act.as, hub.publish(act.publish, act.data, act.options));
    else if (act.request) settled(act.as, hub.request(act.request, act.data, act.options));
    else if (act.reply_to_last) settled(act.as, hub.reply(last(), act.data));
    else if (act.close) hub.close();
    else assert.fail("a program does not do this");
  }

  event({ of, ...told }) {
    const [[op, fields]] = Object.entries(told);
    const events = this.#events.get(of);
    while (events.length && events[0].op !== op && ["subscribed", "presence"].includes(events[0].op)) events.shift();
    const event = events.shift();
    assert.equal(event?.op, op);
    if (event.op === "message") this.#last.set(of, event);
    for (const [key, value] of Object.entries(this.#filled(fields))) assert.deepEqual(event[key], value, key);
  }

  event_any_order(all) {
    const left = [...all];
    while (left.length) {
      const events = this.#events.get(left[0].of);
      const fits = left.findIndex(({ message }) => events.find(({ op }) => op === "message")?.topic === message.topic);
      assert.ok(fits >= 0, `one of ${JSON.stringify(left)}`);
      this.event(left.splice(fits, 1)[0]);
    }
  }

  no_event(label) {
    assert.deepEqual(this.#events.get(label).filter(({ op }) => op === "message" || op === "gap"), []);
  }

  settled({ of, value, error }) {
    const settled = this.#settled.get(of);
    assert.ok(settled, "not settled");
    if (error) assert.equal(typeof error.code === "number" ? settled.error?.close_code : settled.error?.code, error.code);
    else if (settled.error) throw settled.error;
    else if (value && typeof value === "object") for (const [key, one] of Object.entries(this.#filled(value))) assert.deepEqual(settled.value[key], one, key);
    else if (value !== undefined) assert.deepEqual(settled.value, value);
  }

  state(name) {
    assert.equal(this.world.hub.state, name);
  }
}
