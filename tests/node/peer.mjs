/** A client on the npm package ws. It keeps what the server says until a story asks for it. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { decode, encode } from "@msgpack/msgpack";
import WebSocket from "ws";
import { DEADLINE_MS } from "./server.mjs";

/** @typedef {Record<string, any>} Said A command, reply or push. */
/** @typedef {{ code: number, reason: string }} Closed */

export class Peer {
  /** @type {Said[]} */
  #heard = [];
  /** @type {Set<() => void>} */
  #waiting = new Set();
  #ids = 0;
  /** @type {Closed | null} */
  #closed = null;

  /**
   * @param {string} host
   * @param {string[]} subprotocols in the order of preference
   * @param {WebSocket.ClientOptions} [options]
   */
  constructor(host, subprotocols, options = {}) {
    this.socket = new WebSocket(`ws://${host}/ws`, subprotocols, options);
    this.socket.on("message", (data, isBinary) => {
      assert.equal(isBinary, !this.isText, "the frame type of the subprotocol");
      const bytes = /** @type {Buffer} */ (data);
      this.#heard.push(/** @type {Said} */ (this.isText ? JSON.parse(bytes.toString()) : decode(bytes)));
      this.#wake();
    });
    this.socket.on("close", (code, reason) => {
      this.#closed = { code, reason: reason.toString() };
      this.#wake();
    });
    this.socket.on("error", () => {}); // a close follows
  }

  /**
   * Connects and reads the welcome.
   * @param {string} host
   * @param {string[]} subprotocols
   * @param {WebSocket.ClientOptions} [options]
   */
  static async connect(host, subprotocols, options) {
    const peer = new Peer(host, subprotocols, options);
    await once(peer.socket, "open");
    peer.welcome = await peer.push("welcome");
    return peer;
  }

  /** @type {Said} */
  welcome = {};

  /** Whether the subprotocol is JSON. */
  get isText() {
    return this.socket.protocol !== "pubsub.msgpack";
  }

  #wake() {
    for (const wake of this.#waiting) wake();
  }

  /**
   * Waits until `condition` returns something.
   * @template T
   * @param {() => T | undefined | null} condition
   * @param {string} what
   * @returns {Promise<T>}
   */
  #until(condition, what) {
    return new Promise((resolve, reject) => {
      const end = (/** @type {() => void} */ act) => {
        this.#waiting.delete(check);
        clearTimeout(late);
        act();
      };
      const late = setTimeout(() => end(() => reject(new Error(`no ${what} came`))), DEADLINE_MS);
      const check = () => {
        const found = condition();
        if (found !== undefined && found !== null) end(() => resolve(found));
      };
      this.#waiting.add(check);
      check();
    });
  }

  /** @param {(said: Said) => boolean} wanted */
  #take(wanted) {
    const at = this.#heard.findIndex(wanted);
    return at < 0 ? undefined : this.#heard.splice(at, 1)[0];
  }

  /** The next push of this kind. */
  push(op = "message") {
    return this.#until(() => this.#take((said) => said.op === op && !("id" in said)), op);
  }

  /**
   * Sends a command and waits for nothing.
   * @param {Said} command
   */
  send(command) {
    this.socket.send(this.isText ? JSON.stringify(command) : encode(command));
  }

  /**
   * Sends a command with an id of its own; its reply without the id.
   * @param {string} op
   * @param {Said} [fields]
   * @returns {Promise<Said>}
   */
  async ask(op, fields = {}) {
    const id = ++this.#ids;
    this.send({ op, id, ...fields });
    const reply = await this.#until(() => this.#take((said) => said.id === id), `reply to ${op}`);
    delete reply.id;
    return reply;
  }

  /** @param {string} topic */
  async subscribe(topic, options = {}) {
    const reply = await this.ask("subscribe", { topic, ...options });
    assert.equal(reply.op, "subscribed");
    return reply;
  }

  /**
   * @param {string} topic
   * @param {unknown} data
   */
  async publish(topic, data) {
    const reply = await this.ask("publish", { topic, data });
    assert.equal(reply.op, "published");
    return reply;
  }

  /** The code and reason with which the connection has closed. */
  closed() {
    return this.#until(() => this.#closed, "close");
  }

  /** What was heard and not asked for. */
  get unheard() {
    return this.#heard;
  }
}
