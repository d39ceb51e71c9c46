/** A client whose network and clock are the test's: what it says is kept, what the server says is up to the story. */

import { connect } from "../dist/index.js";

await import("../dist/node.js"); // what is loaded when it is needed is there at once

/** Lets everything happen that can happen without time passing. */
export async function settle() {
  for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Time that passes when it is told to, and chance that is always the middle. */
export class PlayedClock {
  #now = 0;
  #timers = new Map();
  #ids = 0;
  random = () => 0.5;
  now = () => this.#now;

  set = (act, ms) => {
    this.#timers.set(++this.#ids, { act, at: this.#now + ms });
    return this.#ids;
  };

  clear = (id) => void this.#timers.delete(id);

  get timers() {
    return this.#timers.size;
  }

  async advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const next = [...this.#timers].sort(([, a], [, b]) => a.at - b.at)[0];
      if (!next || next[1].at > end) break;
      this.#now = next[1].at;
      this.#timers.delete(next[0]);
      next[1].act();
    }
    this.#now = end;
    await settle();
  }
}

/** The WebSockets of one client, in the order in which it opened them. */
export function playedSockets() {
  const opened = [];
  class PlayedSocket {
    static CLOSED = 3;
    said = [];
    #heard = {};
    constructor(url, protocols) {
      Object.assign(this, { url, protocols, closed: undefined });
      opened.push(this);
    }
    on(type, listener) {
      this.#heard[type] = listener;
    }
    send(text) {
      this.said.push(JSON.parse(text));
    }
    close(code = 1000) {
      this.closed ??= code;
    }
    // What the server does:
    says(map) {
      this.onmessage({ data: typeof map === "string" ? map : JSON.stringify(map) });
    }
    ends(code, reason = "") {
      this.onclose({ code, reason });
    }
    pings() {
      this.#heard.ping();
    }
    refuses(status, headers = {}, body = "") {
      const listeners = {};
      this.#heard["unexpected-response"]({ destroy() {} }, { statusCode: status, headers, on: (type, act) => (listeners[type] = act) });
      listeners.data(body);
      listeners.end();
    }
  }
  return { PlayedSocket, opened };
}

/** A hub in such a world. */
export function playedHub(options = {}) {
  const clock = new PlayedClock();
  const { PlayedSocket, opened } = playedSockets();
  const states = [];
  const hub = connect("ws://hub.example", { transports: ["websocket"], clock, WebSocket: PlayedSocket, ...options });
  hub.addEventListener("state", ({ detail }) => states.push(detail));
  return { hub, clock, opened, states, socket: () => opened.at(-1) };
}
