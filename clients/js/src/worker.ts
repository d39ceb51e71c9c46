/**
 * The worker of `connectShared`: a hub for all tabs, to each of which it says what a server would.
 *
 * @packageDocumentation
 */

import { connect, type CommandError, type Hub, type Message, type SubscribeOptions, type Subscribed, type Subscription, type Wire } from "./index.js";
import { isPattern } from "./topic.js";
import type { Hello } from "./transport/port.js";

const LAST_MAX = 1000; // topics of a pattern whose last value is kept
const PAGE = 1000;

/** What is subscribed to for some tabs. */
class Feed {
  readonly tabs = new Map<Tab, unknown>(); // with the id of the command that waits for its reply
  #last = new Map<string, Message>();
  #said: Subscribed | undefined;
  readonly options: string;

  constructor(
    private readonly room: Room,
    readonly topic: string,
    { replay, ...options }: SubscribeOptions,
  ) {
    this.options = JSON.stringify(options);
    this.subscription = room.hub.subscribe(topic, { ...options, ...(replay && { replay }), buffer: 10 * PAGE }) as Subscription;
    void this.#run();
  }

  readonly subscription: Subscription;

  async #run(): Promise<void> {
    try {
      for await (const event of this.subscription.events()) {
        if (event.op === "subscribed") this.#subscribed(event);
        else if (event.op !== "gap" || event.epoch) {
          if (event.op === "message") this.#keep(event);
          for (const tab of this.tabs.keys()) tab.say(event);
        }
      }
    } catch (error) {
      const { code, message, retry } = error as CommandError;
      for (const [tab, id] of this.tabs) tab.say(id === undefined ? { op: "unsubscribed", topic: this.topic, code } : { op: "error", id, code, message, retry: retry ?? false });
    }
    this.room.feeds.delete(this.topic);
  }

  #keep(message: Message): void {
    this.#last.delete(message.topic);
    this.#last.set(message.topic, message);
    if (this.#last.size > LAST_MAX) this.#last.delete(this.#last.keys().next().value as string);
  }

  #subscribed(event: Subscribed): void {
    this.#said = event;
    const { resumed: _, ...map } = event;
    for (const [tab, id] of this.tabs) {
      tab.say({ ...map, ...(id !== undefined && { id }) });
      this.tabs.set(tab, undefined);
    }
  }

  /** A tab wants it too. */
  async join(tab: Tab, id: unknown, replay: NonNullable<SubscribeOptions["replay"]>): Promise<void> {
    if (!this.#said) return void this.tabs.set(tab, id); // it hears with the others
    const messages = await this.#past(replay);
    if (this.room.feeds.get(this.topic) !== this || tab.gone) return;
    const { resumed: _, ...map } = this.#said;
    const last = this.#last.get(this.topic);
    const place = last && { epoch: last.epoch, offset: last.offset };
    tab.say({ ...map, ...place, id, replayed: messages.length, recovered: true });
    for (const message of messages) tab.say(message);
    this.tabs.set(tab, undefined);
  }

  /** What a tab that comes later gets: the last values, or more where the server can tell. */
  async #past(replay: NonNullable<SubscribeOptions["replay"]>): Promise<Message[]> {
    const values = [...this.#last.values()];
    if (isPattern(this.topic)) {
      const after = ("after" in replay ? replay.after : {}) as Record<string, { epoch: string; offset: number } | undefined>;
      return values.filter(({ topic, epoch, offset }) => !(after[topic]?.epoch === epoch && (after[topic]?.offset ?? 0) >= offset));
    }
    const has = values[0];
    try {
      if ("after" in replay) {
        const after = replay.after as { epoch: string; offset: number };
        if (has && has.epoch === after.epoch && has.offset <= after.offset) return [];
        return [...(await this.room.hub.history(this.topic, { after, limit: PAGE })).messages];
      }
      if ("last" in replay && replay.last > values.length) return [...(await this.room.hub.history(this.topic, { limit: Math.min(replay.last, PAGE) })).messages];
    } catch {
      // it may not, or cannot at present: what is here
    }
    return values;
  }

  leave(tab: Tab): void {
    if (!this.tabs.delete(tab) || this.tabs.size) return;
    this.room.feeds.delete(this.topic);
    void this.subscription.unsubscribe();
  }
}

/** All tabs with one hub. */
class Room {
  readonly tabs = new Set<Tab>();
  readonly feeds = new Map<string, Feed>();
  readonly hub: Hub;
  #token: string | undefined; // the last that a tab has shown
  #wanted: ((token: string) => void) | undefined;

  constructor(hello: Hello) {
    this.hub = connect(hello.url, { ...(hello.user !== undefined && { user: hello.user }), ...(hello.hasToken && { token: () => this.#fetchToken() }) });
    this.hub.addEventListener("state", ({ detail: { error, ...change } }) => {
      for (const tab of this.tabs) {
        if (change.state === "closed") {
          tab.say({ op: "goodbye", code: change.code, reason: change.reason, reconnect: "never" });
          tab.say({ op: "$end", end: { code: change.code, reason: change.reason, problem: error?.code } });
        } else tab.say({ op: "$state", change });
      }
    });
    this.hub.addEventListener("error", ({ detail: { code, message } }) => this.tabs.forEach((tab) => tab.say({ op: "error", code, message, retry: false })));
  }

  /** The first that a tab shows; later another, for which all tabs are asked. If none has another, the server has to say what it thinks of that. */
  async #fetchToken(): Promise<string> {
    const sources = [...this.tabs].filter(({ renews }) => renews);
    if (this.#token !== undefined && !sources.length) return this.#token;
    for (const tab of sources) tab.say({ op: "expiring", in_ms: 0 });
    return new Promise((resolve) => (this.#wanted = resolve));
  }

  authenticate(token: string): void {
    this.#token = token;
    this.#wanted?.(token);
    this.#wanted = undefined;
  }
}

let room: Room | undefined;

/** A tab, as long as it lives. */
class Tab {
  gone = false;
  /** Whether it has a source of tokens. */
  renews = false;
  #room: Room | undefined;

  constructor(private readonly port: MessagePort) {
    port.onmessage = ({ data }: MessageEvent<Wire>) => {
      this.#hear(data).catch(({ code = "internal", message, retry = false, after_ms }: CommandError) => this.say({ op: "error", id: data.id, code, message, retry, after_ms }));
    };
  }

  say(map: Wire): void {
    if (!this.gone) this.port.postMessage(map);
  }

  async #hear({ op, id, topic, data, ...options }: Wire): Promise<void> {
    if (op === "$hello") return this.#enter({ op, ...options } as Hello);
    const hub = this.#room?.hub;
    if (!this.#room || !hub) return;
    if (op === "$bye") this.#leave();
    else if (op === "subscribe") {
      const { replay = { last: 0 }, ...rest } = options;
      let feed = this.#room.feeds.get(topic);
      if (feed && feed.options !== JSON.stringify(rest)) throw Object.assign(new Error(`another tab is subscribed to ${topic} with other options`), { code: "already_subscribed" });
      if (feed) return feed.join(this, id, replay);
      feed = new Feed(this.#room, topic, options);
      this.#room.feeds.set(topic, feed);
      feed.tabs.set(this, id);
    } else if (op === "unsubscribe") {
      this.#room.feeds.get(topic)?.leave(this);
      this.say({ op: "unsubscribed", id, topic });
    } else if (op === "publish") this.say({ ...(await hub.publish(topic, data, { offline: "queue", ...options })), op: "published", id });
    else if (op === "history") this.say({ ...(await hub.history(topic, options)), op, id });
    else if (op === "presence") this.say({ ...(await hub.presence(topic)), op, id });
    else if (op === "request") this.say({ op: "reply", id, data: await hub.request(topic, data, options) });
    else if (op === "reply") {
      await hub.reply({ reply_to: options.reply_to }, data);
      this.say({ op: "replied", id });
    } else if (op === "authenticate") {
      if (options.token !== undefined) this.#room.authenticate(options.token);
      this.say({ op: "authenticated", id, user: hub.user });
    } else if (op === "ping") this.say({ op: "pong", id });
  }

  #enter(hello: Hello): void {
    if (!room || room.hub.state === "closed") room = new Room(hello);
    this.#room = room;
    this.renews = hello.renews;
    room.tabs.add(this);
    // A tab can die without a word; then its lock is free.
    void navigator.locks.request(hello.lock, () => this.#leave());
    this.say({ op: "welcome", session: room.hub.session, protocol: 1, ping_ms: 25_000 });
    if (room.hub.state !== "open") this.say({ op: "$state", change: { state: room.hub.state } });
  }

  #leave(): void {
    if (this.gone || !this.#room) return;
    this.gone = true;
    this.port.close();
    this.#room.tabs.delete(this);
    for (const feed of [...this.#room.feeds.values()]) feed.leave(this);
    if (this.#room.tabs.size) return;
    this.#room.hub.close();
    if (room === this.#room) room = undefined;
  }
}

(globalThis as unknown as { onconnect: (event: MessageEvent) => void }).onconnect = ({ ports: [port] }) => new Tab(port as MessagePort);
