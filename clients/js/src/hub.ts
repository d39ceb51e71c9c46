/** The connection to a server: when it is made, what is said first, what its end means, and when to come back. */

import { Backoff, verdictOf, type Verdict } from "./backoff.js";
import { clock as realClock, type Clock } from "./clock.js";
import { json } from "./codec/json.js";
import { ClosedError, CommandError, HubError, OfflineError } from "./errors.js";
import { Message } from "./message.js";
import { Session, type Feed, type Pending } from "./session.js";
import { Subscription } from "./subscription.js";
import type { Ladder } from "./transport/ladder.js";
import type { Address, End, Link, Transport } from "./transport/transport.js";
import { TypedTarget } from "./target.js";
import { websocket } from "./transport/websocket.js";
import type { Codec, Position, Wire } from "./wire.js";

const WELCOME_MS = 10_000;
const PONG_MS = 8_000;
const SILENCE_MS = 10_000;
const LOYAL_TIMES = 3; // a transport that has worked is not given up for one failure: the server may be restarting

/** `connecting`: on the way. `open`: there. `waiting`: away, and coming back by itself. `closed`: away for good. */
export type State = "connecting" | "open" | "waiting" | "closed";

/** What the event `state` holds under `detail`. */
export interface StateChange {
  readonly state: State;
  /** Why it is not open any more: the close code, 1006 if there was none. */
  readonly code?: number;
  readonly reason?: string;
  /** How many milliseconds until the next attempt. */
  readonly retry_ms?: number;
  /** Why it is closed. */
  readonly error?: HubError;
}

/** What the events of a {@link Hub} hold under `detail`. */
export interface HubEventMap {
  state: CustomEvent<StateChange>;
  /** Something went wrong that nobody waits for. */
  error: CustomEvent<HubError>;
}

/** The name of a transport, or one of your own. */
export type Way = "websocket" | "events" | "poll" | Transport;

/** How to connect. Times are milliseconds. */
export interface ConnectOptions {
  /** How maps are written: JSON, unless `msgpack` of `@topichub/client/msgpack` is given. */
  codec?: Codec;
  /** Who this is: a token or API key, or what fetches one. It is called for the first connection, when the server says that the token expires, and when it refuses it. */
  token?: string | (() => string | Promise<string>);
  /** Who this is, on servers that take anybody's word. */
  user?: string;
  /** What becomes of a publish without a connection: `"reject"` (default), or `"queue"`, until there is one. */
  offline?: "reject" | "queue";
  /** How much may be queued: `messages` (1,000) and `bytes` (1,048,576). */
  queue?: { messages?: number; bytes?: number };
  /** How long to stay away: a random time up to `base` (500), which doubles with each attempt up to `max` (30,000). */
  backoff?: { base?: number; max?: number };
  /** Which ways to try, in this order: `websocket`, `events` (Server-Sent Events) and `poll` (long poll), unless said otherwise. */
  transports?: readonly Way[];
  /** Ends the hub, like `close()`. */
  signal?: AbortSignal;
  /** The WebSocket to use, where the platform's own is not wanted; of `ws` for instance. */
  WebSocket?: unknown;
  /** The `fetch` to use. */
  fetch?: typeof fetch;
  /** Time and chance, for tests. */
  clock?: Clock;
}

/** How to subscribe: as on the wire (SPEC §4), and what is done here. */
export interface SubscribeOptions {
  /** `false`: not the messages that this hub publishes itself. */
  echo?: boolean;
  /** Which messages of the past: the latest so many of each topic, those of the last so many seconds, or those after a position. */
  replay?: { last: number } | { seconds: number } | { after: Position | Record<string, Position> };
  /** What the server does when this client is slow (SPEC §14). */
  slow?: "disconnect" | "drop" | "latest" | "latest-per-key";
  /** At most so many messages a second of each topic: 0.1 to 1,000. */
  max_rate?: number;
  /** Be on the topic, and be told who is (SPEC §15). */
  presence?: boolean | { join?: boolean; watch?: boolean; data?: unknown };
  /** Share the messages with others of this group (SPEC §16). */
  group?: string;
  /** How many messages may wait to be read (1,000). */
  buffer?: number;
  /** When more do: the oldest goes and a gap takes its place (`"drop"`, default), or the subscription ends with a {@link BufferOverflow} (`"error"`). */
  overflow?: "drop" | "error";
  /** Unsubscribes; loops end without an error. */
  signal?: AbortSignal;
}

/** How to publish: as on the wire (SPEC §12), and what is done here. */
export interface PublishOptions {
  key?: string;
  meta?: Record<string, string>;
  ttl_ms?: number;
  /** A name for this publish: said again, it is taken for a repeat. With it, the hub repeats what was under way when a connection was lost. */
  dedup?: string;
  if_offset?: number;
  exclude?: readonly string[];
  /** As in {@link ConnectOptions}, for this one. */
  offline?: "reject" | "queue";
  /** Waits no longer for the answer; it may have been published. */
  signal?: AbortSignal;
}

/** Where a message has been published. */
export interface Published extends Position {
  readonly topic: string;
  /** How many subscriptions on this server it goes to. */
  readonly subscribers: number;
  readonly duplicate?: true;
}

/** A page of a topic's past. */
export interface History<T = unknown> extends Position {
  readonly topic: string;
  readonly recovered: boolean;
  /** Whether there is more in the direction asked for. */
  readonly more: boolean;
  readonly messages: readonly Message<T>[];
}

/** Who is on a topic. */
export interface PresenceState {
  readonly topic: string;
  readonly count: number;
  readonly sessions: number;
  readonly members?: readonly import("./message.js").Member[];
}

/** A command that waits for a connection. */
interface Queued {
  map: Wire;
  bytes: number;
  pending: Pending;
}

/** One connection, or the want of it: dialling and what came of it. */
interface Line {
  link?: Link;
  welcomed?: boolean;
  goodbye?: Wire;
  /** Timers of subscriptions that are asked for again. */
  retries: unknown[];
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

  #address: Address;
  #clock: Clock;
  #backoff: Backoff;
  #options: ConnectOptions;
  #ways: readonly Way[];
  #ladder: Ladder | undefined; // loaded when it is not just the first way
  #stuck: unknown; // and now it is needed
  #failures = 0;
  #worked = false;
  #session: Session;
  #line: Line | undefined;
  #token: string | undefined;
  #source: (() => string | Promise<string>) | undefined; // of tokens
  #fresh = false; // a token was refused, and this is another
  #refreshing: Set<Feed> | undefined; // subscriptions refused for want of it meanwhile
  #queue: Queued[] = [];
  #queued = 0; // bytes
  #timer: unknown; // the next thing to do about the connection
  #pingMs = 25_000;
  #heardAt = 0;
  #error: ClosedError | undefined;
  #ears = new AbortController();

  /** @internal */
  constructor(url: string | URL, options: ConnectOptions = {}) {
    super();
    const { clock = realClock, codec = json, transports = ["websocket", "events", "poll"], backoff, token, signal } = options;
    const ws = new URL(url, globalThis.location?.href);
    ws.protocol = ws.protocol.replace("http", "ws");
    if (!ws.protocol.startsWith("ws")) throw new TypeError(`no http(s) or ws(s): ${url}`);
    if (ws.pathname === "/") ws.pathname = "/ws";
    this.#options = options;
    this.#ways = transports;
    this.#clock = clock;
    if (typeof token === "function") this.#source = token;
    else this.#token = token;
    this.#address = { ...options, ws: ws.href, codec, clock, token: undefined };
    this.#backoff = new Backoff(clock, backoff);
    this.#stuck = transports[0] === "events" || transports[0] === "poll" || knownWay(ws.href);
    this.#session = new Session(
      (map) => this.#line?.link?.send(map),
      (feed, error) => this.#refused(feed, error),
    );
    const ears = { signal: this.#ears.signal };
    signal?.addEventListener("abort", () => this.close(), ears);
    // A socket that leads nowhere may be kept for minutes. Without a network it is given up at once, for resuming costs little; coming back
    // is tried all the same, because a browser can be wrong about the network (its own machine).
    for (const type of ["offline", "online", "visibilitychange"]) (globalThis as Partial<typeof globalThis>).addEventListener?.(type, () => this.#noticed(type), ears);
    if (signal?.aborted) this.close();
    else void this.#dial();
  }

  /** Which way leads to the server at present. */
  get transport(): string {
    return this.#way().name;
  }

  /** Subscribes to a topic or pattern, now and after every reconnect. */
  subscribe<N extends keyof Topics & string>(name: N, options: SubscribeOptions = {}): Subscription<Topics[N]> {
    const { buffer = 1000, overflow = "drop", signal, ...wire } = options;
    const subscription = new Subscription(name, buffer, overflow, this.#session, signal);
    if (this.state === "closed") subscription._end(this.#error);
    else if (signal?.aborted) subscription._end();
    else this.#session.enter(subscription, wire);
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
    this.#shut();
  }

  // --- Commands

  #ask(command: Wire, options?: object): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const { signal, offline, ...map } = { ...command, ...options } as Wire & { signal?: AbortSignal };
      signal?.throwIfAborted();
      if (this.state === "closed") throw this.#error as ClosedError;
      const settled = new AbortController();
      const pending: Pending = {
        settle: ({ op: _op, id: _id, ...reply }) => (settled.abort(), resolve(reply)),
        fail: (error) => (settled.abort(), reject(error)),
        again: map.dedup ? map : undefined,
      };
      let id = 0;
      if (this.state === "open") id = this.#session.command(map, pending);
      else if (offline === "queue") this.#enqueue(map, pending);
      else throw new OfflineError("not_connected", "wait for the state open, or queue");
      const abort = () => {
        this.#session.forget(id);
        this.#queue = this.#queue.filter((queued) => queued.pending !== pending || ((this.#queued -= queued.bytes), false));
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", abort, { once: true, signal: settled.signal });
    });
  }

  #enqueue(map: Wire, pending: Pending): void {
    const { messages = 1000, bytes: bytesMax = 1_048_576 } = this.#options.queue ?? {};
    const bytes = this.#address.codec.encode(map).length;
    if (this.#queue.length >= messages || this.#queued + bytes > bytesMax) throw new OfflineError("queue_full", "the queue is full");
    this.#queue.push({ map, bytes, pending });
    this.#queued += bytes;
  }

  // --- The connection

  #way(): Transport {
    const [first] = this.#ways;
    return this.#ladder?.way ?? (typeof first === "object" ? first : websocket);
  }

  async #dial(): Promise<void> {
    const line: Line = (this.#line = { retries: [] });
    this.#setState({ state: "connecting" });
    this.#arm(WELCOME_MS, () => this.#lost(line, { code: 1006, reason: "no welcome" }));
    try {
      if (this.#source && this.#token === undefined) {
        const fetched = await this.#source();
        if (line !== this.#line) return;
        this.#token = fetched;
      }
      this.#address.token = this.#token;
      if (this.#stuck) {
        this.#stuck = false;
        this.#ladder ??= new (await import("./fallback.js")).Ladder(this.#ways, websocket, this.#address, known, knownWay(this.#address.ws), this.#failures);
        if (line !== this.#line) return;
      }
      const link = await this.#way().dial(this.#address, {
        map: (map) => line === this.#line && this.#receive(line, map),
        heard: () => (this.#heardAt = this.#clock.now()),
        ended: (end) => this.#lost(line, end),
        resume: () => [...this.#session.feeds.values()].map((feed) => this.#session.commandOf(feed)),
      });
      if (line !== this.#line) link.close(1000);
      else line.link = link;
    } catch (error) {
      this.#lost(line, { code: 1006, reason: String(error) });
    }
  }

  #receive(line: Line, map: Wire): void {
    this.#heardAt = this.#clock.now();
    if (this.#session.receive(map)) return;
    if (map.op === "welcome") this.#welcome(line, map);
    else if (map.op === "goodbye") line.goodbye = map; // the close follows
    else if (map.op === "expiring") this.#refresh(line).catch(() => {}); // at the end there is a 4203
    else if (map.op === "$state") this.#mirror(map.change);
    else if (map.op === "error") this._emit("error", new CommandError(map));
  }

  #welcome(line: Line, map: Wire): void {
    this.session = map.session;
    this.#pingMs = map.ping_ms || this.#pingMs;
    this.#session.messageBytesMax = map.limits?.message_bytes ?? 65_536;
    if (line.welcomed) return;
    line.welcomed = true;
    this.#worked = true;
    this.#failures = 0;
    this.#ladder?.worked(() => {
      if (this.#session.busy) return false;
      this.#drop();
      void this.#dial();
      return true;
    });
    this.#backoff.opened();
    this.state = "open";
    this.#authenticate(line);
    this.#session.opened();
    this.#flush();
    this.#watch(line);
    this.#setState({ state: "open" });
  }

  /** Of a connection that is shared with other tabs: it is in this state. */
  #mirror(change: StateChange): void {
    this.#setState(change);
    if (change.state === "open") this.#flush();
  }

  /** Says what has waited for a connection. */
  #flush(): void {
    const queue = this.#queue;
    this.#queue = [];
    this.#queued = 0;
    for (const { map, pending } of queue) this.#session.command(map, pending);
  }

  /** Says who this is. What follows is carried out after it, so nobody waits. */
  #authenticate(line: Line): void {
    const credential = this.#token === undefined ? this.#options.user && { user: this.#options.user } : { token: this.#token };
    if (!credential) return;
    const settle = ({ user }: Wire) => {
      this.user = user;
      const refused = this.#refreshing;
      this.#refreshing = undefined;
      for (const feed of refused ?? []) this.#session.ask(feed);
    };
    const fail = (error: HubError) => {
      if (line !== this.#line) return;
      if (error.code === "unauthorized" && this.#source && !this.#fresh) {
        this.#fresh = true;
        this.#refreshing = new Set();
        this.#refresh(line).catch((reason) => this.#lost(line, { code: 1006, reason: String(reason) }));
      } else if (error instanceof CommandError && error.retry) this.#lost(line, { code: 1006, reason: error.message, after_ms: error.after_ms });
      else this.#shut(new ClosedError(4001, error.message, error.code));
    };
    this.#session.command({ op: "authenticate", ...credential }, { settle, fail });
  }

  /** Another token, in the same session. */
  async #refresh(line: Line): Promise<void> {
    if (!this.#source) return;
    const fetched = await this.#source();
    this.#token = this.#address.token = fetched;
    if (line !== this.#line || this.state !== "open") return;
    this.#authenticate(line);
  }

  /** Whether a subscription that was refused is tried again. */
  #refused(feed: Feed, error: HubError & Partial<CommandError>): boolean {
    if (error.code === "unauthorized" && this.#refreshing) {
      this.#refreshing.add(feed);
      return true;
    }
    if (!error.retry) return false;
    const line = this.#line;
    line?.retries.push(this.#clock.set(() => this.#session.ask(feed), error.after_ms ?? this.#clock.random() * 1000));
    return true;
  }

  /** Nothing heard for a while: ask, where no heartbeat can be heard. Still nothing: the connection is dead, whatever the platform believes. */
  #watch(line: Line, asked = false): void {
    const at = this.#heardAt;
    const act = () => {
      this.#fresh = false; // it has lived for a while
      if (this.#heardAt > at) this.#watch(line);
      else if (asked || line.link?.beats) this.#lost(line, { code: 1006, reason: "nothing heard" });
      else this.#probe(line);
    };
    this.#arm(asked ? PONG_MS : at + this.#pingMs + (line.link?.beats ? SILENCE_MS : 0) - this.#clock.now(), act);
  }

  #probe(line: Line): void {
    line.link?.send({ op: "ping" });
    this.#watch(line, true);
  }

  /** Something about the network, or somebody looks: no more waiting then, and is the connection still one? */
  #noticed(type: string): void {
    const line = this.#line;
    if (type === "online") this.#ladder?.top();
    if (type === "offline") line && this.#lost(line, { code: 1006, reason: type });
    else if (this.state === "waiting") void this.#dial();
    else if (this.state === "open" && line && !line.link?.beats) this.#probe(line);
  }

  #lost(line: Line, end: End): void {
    if (line !== this.#line) return;
    const { goodbye, welcomed } = line;
    const { status, unfit } = end;
    const { code, reason, after_ms }: End = { ...end, ...goodbye };
    this.#drop();
    let verdict: Verdict = goodbye?.reconnect ?? (status ? ([400, 401, 403, 404, 426].includes(status) ? "never" : "later") : verdictOf(code));
    const known = status === 401 || status === 403; // it is the server that says so, by whatever way
    if (this.#source && (code === 4203 || ((status === 401 || code === 4001) && !this.#fresh))) {
      this.#fresh = code !== 4203;
      this.#token = undefined; // another is fetched on the way
      verdict = "now";
    }
    if ((!welcomed || unfit) && this.#ways[1] && !known && (status || verdict === "later") && ++this.#failures >= (this.#worked && !unfit ? LOYAL_TIMES : 1)) {
      if (this.#ladder ? this.#ladder.next() : (this.#stuck = true)) return void this.#dial();
    }
    if (verdict === "never") return this.#shut(new ClosedError(code, reason, end.problem, status));
    const retry_ms = this.#backoff.next(verdict, after_ms);
    this.#arm(retry_ms, () => void this.#dial());
    this.#setState({ state: "waiting", code, reason, retry_ms });
  }

  /** Forgets the present connection. */
  #drop(): void {
    const { link, retries } = this.#line ?? {};
    retries?.forEach(this.#clock.clear);
    this.#line = this.#refreshing = undefined;
    this.#clock.clear(this.#timer);
    this.#ladder?.left();
    link?.close(1000);
    this.#queue.unshift(...this.#session.lost().map((pending) => ({ map: pending.again as Wire, bytes: 0, pending })));
  }

  #shut(error?: ClosedError): void {
    if (this.#error) return;
    this.#error = error ?? new ClosedError(1000, "closed by the program");
    this.#drop();
    this.#ears.abort();
    this.#session.end(error);
    for (const { pending } of this.#queue.splice(0)) pending.fail(this.#error);
    this.#setState({ state: "closed", code: this.#error.close_code, reason: this.#error.reason, error: this.#error });
  }

  #arm(ms: number, act: () => void): void {
    this.#clock.clear(this.#timer);
    this.#timer = this.#clock.set(act, ms);
  }

  #setState(change: StateChange): void {
    this.state = change.state;
    this._emit("state", change);
  }

}

/** Which other way than the WebSocket leads to a URL, for the next hub of this program. A tab remembers as well. */
const known = new Map<string, string>();

function knownWay(url: string): string | null | undefined {
  try {
    return known.get(url) ?? sessionStorage.getItem("topichub:" + url); // may be forbidden, or not there
  } catch {
    return undefined;
  }
}

