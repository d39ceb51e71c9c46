/** What the program holds in its hand: topics to subscribe to and commands to give. The connection is another's business. */

import { json } from "./codec/json.js";
import { Connection, type State, type StateChange } from "./connection.js";
import { OfflineError, type HubError } from "./errors.js";
import { Message } from "./message.js";
import type { ConnectOptions, PublishOptions, SubscribeOptions } from "./options.js";
import type { History, PresenceState, Published } from "./reply.js";
import { Subscription } from "./subscription.js";
import { TypedTarget } from "./target.js";
import type { Position, Wire } from "./wire.js";

/** What the events of a {@link Hub} hold under `detail`. */
export interface HubEventMap {
  state: CustomEvent<StateChange>;
  /** Something went wrong that nobody waits for. */
  error: CustomEvent<HubError>;
}

/** What topics hold, unless somebody has said so: as with `JSON.parse`. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- see above
export type AnyTopics = Record<string, any>;

/** A connection to a server that makes itself again. `Topics` maps names to what is published there. */
export class Hub<Topics extends object = AnyTopics> extends TypedTarget<HubEventMap> {
  /** Whether there is a connection. For reading only. */
  state: State = "connecting";
  /** What the server calls this connection. */
  session = "";
  /** Who the server takes this for, once it has said so. */
  user: string | undefined;

  #options: ConnectOptions;
  #connection: Connection;

  /** @internal */
  constructor(url: string | URL, options: ConnectOptions = {}) {
    super();
    this.#options = options;
    this.#connection = new Connection(url, options, this);
  }

  /** Which way leads to the server at present. */
  get transport(): string {
    return this.#connection.way.name;
  }

  /** Subscribes to a topic or pattern, now and after every reconnect. */
  subscribe<N extends keyof Topics & string>(name: N, options: SubscribeOptions = {}): Subscription<Topics[N]> {
    const { buffer = 1000, overflow = "drop", signal, ...wire } = options;
    const { error, session } = this.#connection;
    const subscription = new Subscription(name, buffer, overflow, session, signal);
    if (error || signal?.aborted) subscription._end(error);
    else session.enter(subscription, wire);
    return subscription as Subscription<Topics[N]>;
  }

  /** Publishes; resolves with where it stands. Bytes are published as such (`Uint8Array`). */
  publish<N extends keyof Topics & string>(topic: N, data: Topics[N], options?: PublishOptions): Promise<Published> {
    return this.#ask({ op: "publish", topic, data: data ?? null, offline: this.#options.offline }, options) as Promise<never>;
  }

  /** A page of a topic's past: the oldest messages after a position, the newest before one, or the newest of all. */
  async history<N extends keyof Topics & string>(topic: N, options?: { after?: Position; before?: Position; limit?: number; signal?: AbortSignal }): Promise<History<Topics[N]>> {
    const page = await this.#ask({ op: "history", topic }, options);
    page.messages = page.messages.map((map: Wire) => new Message({ topic, ...map }, page.epoch, true));
    return page as History<Topics[N]>;
  }

  /** Who is on a topic. */
  presence(topic: keyof Topics & string, options?: { signal?: AbortSignal }): Promise<PresenceState> {
    return this.#ask({ op: "presence", topic }, options) as Promise<never>;
  }

  /** Publishes, and resolves with the answer of whoever gives one first, within `timeout_ms` (5,000). */
  async request(topic: keyof Topics & string, data: unknown, options?: { timeout_ms?: number; signal?: AbortSignal }): Promise<unknown> {
    return new Message(await this.#ask({ op: "request", topic, data: data ?? null }, options), undefined, false).data;
  }

  /** Answers a message that has a `reply_to`. */
  async reply(message: Pick<Message, "reply_to">, data: unknown, options?: { signal?: AbortSignal }): Promise<void> {
    await this.#ask({ op: "reply", reply_to: message.reply_to, data: data ?? null }, options);
  }

  /** Goes for good: loops end, what was not answered is rejected. */
  close(): void {
    this.#connection.shut();
  }

  async #ask(command: Wire, options?: object): Promise<Wire> {
    const { signal, offline, ...map } = { ...command, ...options } as Wire & { signal?: AbortSignal };
    const { error, session } = this.#connection;
    signal?.throwIfAborted();
    if (error) throw error;
    const bytes = this.state === "open" ? 0 : this.#place(map, offline);
    let abort!: () => void;
    try {
      const { op: _op, id: _id, ...reply } = await new Promise<Wire>((resolve, reject) => {
        const id = session.command(map, resolve, reject, bytes);
        abort = () => {
          session.forget(id);
          reject(signal?.reason);
        };
        signal?.addEventListener("abort", abort);
      });
      return reply;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** There is no connection: how many bytes a command takes while it waits for one, if it may. */
  #place(map: Wire, offline: ConnectOptions["offline"]): number {
    if (offline !== "queue") throw new OfflineError("not_connected", "wait for open, or queue");
    const { queue: { messages = 1000, bytes = 1_048_576 } = {}, codec = json } = this.#options;
    const { waiting, waitingBytes } = this.#connection.session;
    const more = codec.encode(map).length;
    if (waiting >= messages || waitingBytes + more > bytes) throw new OfflineError("queue_full", "the queue is full");
    return more;
  }
}
