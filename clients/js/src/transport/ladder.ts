/** Which way to try next, where it is not just the first. What has worked is remembered for the next hub of this program, and of this tab. */

import { events } from "./events.js";
import { poll } from "./poll.js";
import type { Address, Link, Transport } from "./transport.js";

const BETTER_MS = 120_000; // how often the best way is tried, while it is another that works
const WELCOME_MS = 10_000;

/** A name that is none of a transport: the hub ends, and says so. */
const none = (name: string): Transport => ({
  name,
  async dial(_address, { ended }) {
    ended({ reason: `no transport is called "${name}": there are websocket, events and poll`, reconnect: "never" });
    return { send() {}, close() {}, beats: false };
  },
});

export class Ladder {
  readonly #ways: Transport[];
  #at: number;
  #timer: unknown;
  #stop: () => void = () => {};

  constructor(
    ways: readonly (string | Transport)[],
    websocket: Transport,
    private readonly address: Address,
    private readonly memory: Map<string, string>,
    begin: string | true,
  ) {
    this.#ways = ways.map((way) => (typeof way === "object" ? way : way === "events" ? events : way === "poll" ? poll : way === "websocket" ? websocket : none(way)));
    this.#at = begin === true ? 1 : Math.max(this.#ways.findIndex(({ name }) => name === begin), 0);
  }

  get way(): Transport {
    return this.#ways[this.#at] as Transport;
  }

  /** Begins with the first again: the network is another. Not while there is a line, whose way would be taken for the first. */
  top(): void {
    this.#at = 0;
  }

  /** The present way leads nowhere. Returns whether another is to be tried at once. */
  next(): boolean {
    this.#at = (this.#at + 1) % this.#ways.length;
    return this.#at > 0;
  }

  /** The present way leads to the server. While it is not the best, that is tried now and then; `change` takes it, if it can be done now. */
  worked(change: () => unknown): void {
    const [best] = this.#ways as [Transport];
    const { name } = this.way;
    if (this.#at === 0) {
      this.memory.delete(this.address.ws);
      this.#storage((storage) => storage.removeItem(this.#key));
      return;
    }
    this.memory.set(this.address.ws, name);
    this.#storage((storage) => storage.setItem(this.#key, name));
    this.#seek(best, change);
  }

  /** The connection is no more. */
  left(): void {
    this.address.clock.clear(this.#timer);
    this.#stop();
  }

  #seek(best: Transport, change: () => unknown): void {
    this.#timer = this.address.clock.set(() => {
      let link: Link | undefined;
      let over = false;
      const end = () => {
        if (over) return false;
        over = true;
        this.address.clock.clear(late);
        link?.close(1000);
        return true;
      };
      const ended = () => end() && this.#seek(best, change);
      const late = this.address.clock.set(ended, WELCOME_MS);
      const map = () => {
        if (!end()) return;
        const at = this.#at;
        this.#at = 0;
        if (change()) return;
        this.#at = at;
        this.#seek(best, change);
      };
      this.#stop = end;
      Promise.resolve(best.dial(this.address, { map, ended, heard() {}, resume: () => [] })).then((found) => (over ? found.close(1000) : (link = found)), ended);
    }, BETTER_MS);
  }

  get #key(): string {
    return "topichub:" + this.address.ws;
  }

  #storage<T>(act: (storage: Storage) => T): T | undefined {
    try {
      return act(sessionStorage); // may be forbidden, full, or not there
    } catch {
      return undefined;
    }
  }
}
