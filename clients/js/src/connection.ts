/** The connection to a server: when it is made, what is said first, what its end means, and when to come back. */

import { backoff, verdictOf, type Backoff } from "./backoff.js";
import { clock as realClock, type Clock } from "./clock.js";
import { json } from "./codec/json.js";
import { ClosedError, CommandError, type HubError } from "./errors.js";
import type { ConnectOptions, Way } from "./options.js";
import { Session, type Feed } from "./session.js";
import type { Ladder } from "./transport/ladder.js";
import type { Address, End, Link, Transport } from "./transport/transport.js";
import { websocket } from "./transport/websocket.js";
import type { Wire } from "./wire.js";

const WELCOME_MS = 10_000;
const PONG_MS = 8_000;
const SILENCE_MS = 10_000;
const LOYAL_TIMES = 2; // a transport that has worked is not given up for so many failures: the server may be restarting

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

/** Who is told. */
interface Owner {
  state: State;
  session: string;
  user: string | undefined;
  _emit(type: string, detail: unknown): void;
}

/** One connection, or the want of it: dialling and what came of it. */
interface Line {
  link?: Link;
  welcomed?: boolean;
  goodbye?: Wire;
  /** Timers of subscriptions that are asked for again. */
  retries: unknown[];
}

export class Connection {
  /** Why it is closed for good. */
  error: ClosedError | undefined;
  readonly session = new Session(this);

  #address: Address;
  #clock: Clock;
  #backoff: Backoff;
  #ways: readonly Way[];
  #ladder: Ladder | undefined; // loaded when it is not just the first way
  #stuck: string | boolean | undefined; // which way to begin with, or that another is needed
  #failures = 0; // in a row, of the present way; below 0 are those that one that has worked is forgiven
  #line: Line | undefined;
  #source: (() => string | Promise<string>) | undefined; // of tokens
  #fresh = false; // a token was refused, and this is another
  #refreshing: Set<Feed> | undefined; // subscriptions refused for want of it meanwhile
  #timer: unknown; // the next thing to do about the connection
  #pingMs = 25_000;
  #heardAt = 0;
  #ears = new AbortController();

  constructor(
    url: string | URL,
    private readonly options: ConnectOptions,
    private readonly owner: Owner,
  ) {
    const { clock = realClock, codec = json, transports = ["websocket", "events", "poll"], backoff: range, token, signal } = options;
    const ws = new URL(url, globalThis.location?.href);
    ws.protocol = ws.protocol.replace("http", "ws");
    if (!ws.protocol.startsWith("ws")) throw new TypeError(`not http or ws: ${url}`);
    if (ws.pathname === "/") ws.pathname = "/ws";
    this.#ways = transports;
    this.#clock = clock;
    this.#address = { ...options, ws: ws.href, codec, clock, token: undefined };
    if (typeof token === "function") this.#source = token;
    else this.#address.token = token;
    this.#backoff = backoff(clock, range);
    this.#stuck = knownWay(ws.href) ?? (typeof transports[0] !== "object" && transports[0] !== "websocket" && transports[0]);
    const ears = this.#ears; // has a signal, as the options of a listener have
    signal?.addEventListener("abort", () => this.shut(), ears);
    // A socket that leads nowhere may be kept for minutes. Without a network it is given up at once, for resuming costs little; coming back
    // is tried all the same, because a browser can be wrong about the network (its own machine).
    for (const type of ["offline", "online", "visibilitychange"]) (globalThis as Partial<typeof globalThis>).addEventListener?.(type, () => this.#noticed(type), ears);
    if (signal?.aborted) this.shut();
    else void this.#dial();
  }

  /** Which way leads to the server at present. */
  get way(): Transport {
    const [first] = this.#ways;
    return this.#ladder?.way ?? (typeof first === "object" ? first : websocket);
  }

  /** Goes for good. */
  shut(error?: ClosedError): void {
    if (this.error) return;
    this.error = error ?? new ClosedError(1000, "closed by the program");
    this.#drop();
    this.#ears.abort();
    this.session.end(this.error, error);
    const { close_code: code, reason } = this.error;
    this.#setState({ state: "closed", code, reason, error: this.error });
  }

  say(map: Wire): void {
    this.#line?.link?.send(map);
  }

  // --- Coming

  async #dial(): Promise<void> {
    const line: Line = (this.#line = { retries: [] });
    const address = this.#address;
    this.#setState({ state: "connecting" });
    this.#arm(WELCOME_MS, () => this.#lost(line, { reason: "no welcome" }));
    try {
      address.token ??= await this.#source?.();
      const stuck = this.#stuck;
      this.#stuck = false;
      if (stuck) this.#ladder ??= new (await import("./fallback.js")).Ladder(this.#ways, websocket, address, known, stuck);
      if (line !== this.#line) return;
      const link = await this.way.dial(address, {
        map: (map) => line === this.#line && this.#receive(line, map),
        heard: () => (this.#heardAt = this.#clock.now()),
        ended: (end) => this.#lost(line, end),
        resume: () => this.session.resume(),
      });
      if (line !== this.#line) link.close(1000);
      else line.link = link;
    } catch (error) {
      this.#lost(line, { reason: String(error) });
    }
  }

  #receive(line: Line, map: Wire): void {
    this.#heardAt = this.#clock.now();
    if (this.session.receive(map)) return;
    if (map.op === "welcome") this.#welcome(line, map);
    else if (map.op === "goodbye") line.goodbye = map; // the close follows
    else if (map.op === "expiring") this.#refresh(line).catch(() => {}); // at the end there is a 4203
    else if (map.op === "$state") this.#setState(map.change); // of a connection that is shared with other tabs
    else if (map.op === "error") this.owner._emit("error", new CommandError(map));
  }

  #welcome(line: Line, map: Wire): void {
    this.owner.session = map.session;
    this.#pingMs = map.ping_ms || this.#pingMs;
    this.session.messageBytesMax = this.#address.message_bytes = map.limits?.message_bytes ?? 65_536;
    if (line.welcomed) return;
    line.welcomed = true;
    this.#failures = -LOYAL_TIMES;
    this.#ladder?.worked(() => !this.session.waiting && (this.#drop(), this.#dial()));
    this.#backoff.opened();
    this.session.opened(() => this.#authenticate(line));
    this.#watch(line);
    this.#setState({ state: "open" });
  }

  // --- Who this is

  /** Says who this is. What follows is carried out after it, so nobody waits. */
  #authenticate(line: Line): void {
    const { token } = this.#address;
    const { user } = this.options;
    if ((token ?? user) === undefined) return;
    const settle = (reply: Wire) => {
      this.owner.user = reply.user;
      const refused = this.#refreshing;
      this.#refreshing = undefined;
      refused?.forEach((feed) => this.session.ask(feed));
    };
    const fail = ({ code, message: reason, retry, after_ms }: HubError & Partial<CommandError>) => {
      if (code === "unauthorized" && this.#source && !this.#fresh) {
        this.#fresh = true;
        this.#refreshing = new Set();
        this.#refresh(line).catch((problem) => this.#lost(line, { reason: String(problem) }));
      } else this.#lost(line, { code: retry ? 1006 : 4001, reason, problem: code, after_ms });
    };
    this.session.command({ op: "authenticate", token, user: token === undefined ? user : undefined }, settle, fail);
  }

  /** Another token, in the same session. */
  async #refresh(line: Line): Promise<void> {
    if (!this.#source) return;
    this.#address.token = await this.#source();
    if (line === this.#line) this.#authenticate(line);
  }

  /** Whether a subscription that was refused is tried again. */
  refused(feed: Feed, { code, retry, after_ms }: HubError & Partial<CommandError>): unknown {
    if (code === "unauthorized" && this.#refreshing) return this.#refreshing.add(feed);
    return retry && this.#line?.retries.push(this.#clock.set(() => this.session.ask(feed), after_ms ?? this.#clock.random() * 1000));
  }

  // --- Whether it still is one

  /** Nothing heard for a while: ask, where no heartbeat can be heard. Still nothing: the connection is dead, whatever the platform believes. */
  #watch(line: Line, asked = false): void {
    const at = this.#heardAt;
    const act = () => {
      this.#fresh = false; // it has lived for a while
      if (this.#heardAt > at) this.#watch(line);
      else if (asked || line.link?.beats) this.#lost(line, { reason: "nothing heard" });
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
    const { state } = this.owner;
    if (type === "offline") line && this.#lost(line, { reason: type });
    else if (state === "waiting") {
      if (type === "online") this.#ladder?.top();
      void this.#dial();
    } else if (state === "open" && line) this.#probe(line);
  }

  // --- Going

  #lost(line: Line, end: End): void {
    if (line !== this.#line) return;
    const { goodbye, welcomed } = line;
    const { code = 1006, reason, after_ms, status, unfit, problem, known, reconnect = verdictOf(code) }: End = { ...end, ...goodbye };
    let verdict = reconnect;
    this.#drop();
    const refused = status === 401 || code === 4001;
    if (this.#source && (code === 4203 || (refused && !this.#fresh))) {
      this.#fresh = refused;
      this.#address.token = undefined; // another is fetched on the way
      verdict = "now";
    }
    if ((!welcomed || unfit) && this.#ways[1] && !known && (status || verdict === "later") && (++this.#failures > 0 || unfit)) {
      if (this.#ladder ? this.#ladder.next() : (this.#stuck = true)) return void this.#dial();
    }
    if (verdict === "never") return this.shut(new ClosedError(code, reason, problem, status));
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
    this.session.lost();
  }

  #arm(ms: number, act: () => void): void {
    this.#clock.clear(this.#timer);
    this.#timer = this.#clock.set(act, ms);
  }

  #setState(change: StateChange): void {
    this.owner.state = change.state;
    this.owner._emit("state", change);
  }
}

/** Which other way than the WebSocket leads to a URL, for the next hub of this program. A tab remembers as well. */
const known = new Map<string, string>();

function knownWay(url: string): string | undefined {
  try {
    return known.get(url) ?? sessionStorage["topichub:" + url]; // may be forbidden, or not there
  } catch {
    return undefined;
  }
}
