/** A subscription as the program sees it: an async iterable and an EventTarget, with a bounded buffer in between. Knows nothing of the network. */

import { BufferOverflow, HubError } from "./errors.js";
import type { SubscribeOptions } from "./options.js";
import { TypedTarget } from "./target.js";
import type { Gap, Message, Presence, Subscribed, SubscriptionEvent } from "./message.js";

/** What the events of a {@link Subscription} hold under `detail`. */
export interface SubscriptionEventMap<T> {
  message: CustomEvent<Message<T>>;
  gap: CustomEvent<Gap>;
  presence: CustomEvent<Presence>;
  subscribed: CustomEvent<Subscribed>;
  /** It is over: by an error, or `undefined` if the program wanted so. */
  end: CustomEvent<HubError | undefined>;
}

/** Who asks the server. */
interface Owner {
  leave(subscription: Subscription): Promise<void>;
  change(topic: string, options: object): Promise<void>;
}

interface Waiter<T> {
  all: boolean;
  resolve: (result: IteratorResult<SubscriptionEvent<T>, undefined>) => void;
  reject: (error: HubError) => void;
}

const DONE = { done: true, value: undefined } as const;

/**
 * Iterate it for the messages, or `events()` for all that happens, or listen to it. Until it is iterated or somebody listens to its
 * messages, they wait in its buffer. Who leaves the loop unsubscribes. Several loops share the messages out among them.
 */
export class Subscription<T = unknown> extends TypedTarget<SubscriptionEventMap<T>> implements AsyncIterable<Message<T>, undefined> {
  /** The topic or pattern subscribed to. */
  readonly topic: string;
  /** Resolves when the server has agreed for the first time; rejects if it ends before. */
  readonly ready: Promise<Subscribed>;
  /** By what it was ended, if it was not by the program. */
  error: HubError | undefined;

  #ready!: { resolve: (event: Subscribed) => void; reject: (error: unknown) => void };
  #queue: SubscriptionEvent<T>[] = [];
  #gaps = new Map<string, Gap>(); // what the buffer has dropped, to be told before anything else
  #waiters: Waiter<T>[] = [];
  #listened = false; // anything at all
  #heard = false; // messages
  #iterated = false;
  #ended = false;
  #over = new AbortController();
  #owner: Owner;

  /** @internal */
  constructor(
    topic: string,
    private readonly room: number,
    private readonly policy: "drop" | "error",
    owner: Owner,
    signal: AbortSignal | undefined,
  ) {
    super();
    this.topic = topic;
    this.#owner = owner;
    signal?.addEventListener("abort", () => void this.unsubscribe(), this.#over);
    this.ready = new Promise((resolve, reject) => (this.#ready = { resolve, reject }));
    this.ready.catch(() => {}); // who does not ask for it need not handle it
  }

  /** Ends it: nothing comes any more, loops are over. Resolves when the server has agreed, or is not there to do so. */
  async unsubscribe(): Promise<void> {
    if (this.#ended) return;
    this._end();
    await this.#owner.leave(this as Subscription);
  }

  /** Other options in place of all it had, while messages flow: `echo`, `slow`, `max_rate`, `presence`. Resolves when the server has agreed. They hold after a loss as well. */
  change(options: Pick<SubscribeOptions, "echo" | "slow" | "max_rate" | "presence">): Promise<void> {
    return this.#owner.change(this.topic, options);
  }

  /** The messages, one after the other. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Message<T>, undefined> {
    return this.#iterate(false) as AsyncIterableIterator<Message<T>, undefined>;
  }

  /** All that happens, in order: messages, gaps, presence, and when it is in force. */
  events(): AsyncIterableIterator<SubscriptionEvent<T>, undefined> {
    return this.#iterate(true);
  }

  override addEventListener<K extends keyof SubscriptionEventMap<T>>(type: K, listener: ((event: SubscriptionEventMap<T>[K]) => void) | null, options?: AddEventListenerOptions | boolean): void;
  override addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: AddEventListenerOptions | boolean): void;
  override addEventListener(...args: never): void {
    this.#listened = true;
    if ((args[0] as string) === "message") {
      this.#heard = true;
      if (!this.#iterated) this.#queue = [];
    }
    super.addEventListener(...(args as Parameters<EventTarget["addEventListener"]>));
  }

  #iterate(all: boolean): AsyncIterableIterator<SubscriptionEvent<T>, undefined> {
    this.#iterated = true;
    return {
      next: () =>
        new Promise((resolve, reject) => {
          const value = this.#shift(all);
          if (value) resolve({ value });
          else if (!this.#ended) this.#waiters.push({ all, resolve, reject });
          else if (this.error) reject(this.error);
          else resolve(DONE);
        }),
      return: async () => {
        void this.unsubscribe();
        return DONE;
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  #shift(all: boolean): SubscriptionEvent<T> | undefined {
    for (const [topic, gap] of this.#gaps) {
      this.#gaps.delete(topic);
      if (all) return gap;
    }
    let event;
    while ((event = this.#queue.shift())) if (all || event.op === "message") return event;
    return event;
  }

  /** @internal Something happens. */
  _take(event: SubscriptionEvent<T>): void {
    if (this.#ended) return;
    if (event.op === "subscribed") this.#ready.resolve(event);
    if (this.#listened) this._emit(event.op, event);
    const waiter = this.#waiters[0];
    if (waiter) {
      if (!waiter.all && event.op !== "message") return;
      this.#waiters.shift();
      waiter.resolve({ value: event });
    } else if (this.#iterated || !this.#heard) {
      if (this.#queue.length >= this.room) {
        if (this.policy === "error") {
          this._end(new BufferOverflow("buffer_overflow", `over ${this.room} messages wait: read faster, or raise buffer`));
          void this.#owner.leave(this as Subscription);
          return;
        }
        this.#drop();
      }
      this.#queue.push(event);
    }
  }

  /** The oldest goes, and a gap stands in its place. */
  #drop(): void {
    const event = this.#queue.shift();
    if (event?.op !== "message" && event?.op !== "gap") return;
    const { topic, epoch } = event;
    const { from = (event as Message).offset, to = from } = event as Gap;
    const before = this.#gaps.get(topic);
    const known = from && (!before || (before.from && before.epoch === epoch)); // a gap of unknown extent makes all unknown
    this.#gaps.set(topic, { op: "gap", topic, ...(known && { epoch, from: before?.from ?? from, to: to }), why: "buffer" });
  }

  /** @internal It is over. Without an error, what waits is forgotten. */
  _end(error?: HubError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#over.abort();
    this.error = error;
    if (!error) {
      this.#queue = [];
      this.#gaps.clear();
    }
    this.#ready.reject(error ?? new HubError("unsubscribed", "unsubscribed"));
    for (const { resolve, reject } of this.#waiters.splice(0)) {
      if (error) reject(error);
      else resolve(DONE);
    }
    if (this.#listened) this._emit("end", error);
  }
}
