/**
 * A TopicHub connection in the browser, on nothing but the browser's own WebSocket.
 *
 *     const hub = new Hub();
 *     hub.subscribe("ticker.>", ({ topic, data }) => console.log(topic, data), { replay: { last: 1 } });
 *     await hub.publish("chat.lobby", { text: "hello" });
 *
 * How it works, in five sentences. We connect and offer one subprotocol: it decides how maps are written (JSON text or
 * MessagePack bytes), the maps are the same. A command carries an `id`, and the one reply that bears this `id` settles its
 * promise. Everything else is a push: `message` goes to the subscriptions that match its topic. When the connection
 * ends, the close code says whether to come back, and when. We remember the position of each topic, so after coming back we
 * subscribe to all that is `after` it, and know whether anything is missing.
 */

const CODECS = {
  "pubsub.json": async () => ({ encode: JSON.stringify, decode: JSON.parse }),
  "pubsub.msgpack": async () => {
    const { encode, decode } = await import("./vendor/msgpack/index.mjs"); // loaded only when chosen
    return { encode: (map) => encode(map, { ignoreUndefined: true }), decode: (buffer) => decode(buffer) };
  },
};

const PONG_TIMEOUT_MS = 8_000;
const BACKOFF_MAX_MS = 30_000;
const STABLE_AFTER_MS = 10_000; // a connection that lived this long starts the back-off afresh
const AFTER_TOPICS_MAX = 500; // positions in one command, which must stay under the server's limit for messages

/**
 * Events: `state` whenever `hub.state` changes; `resumed` (detail: `{ messages, missed }`) when all is caught up after a
 * reconnect, where `missed` is a number, or null if nobody can know it; `gap`, `presence` and `expiring` (detail: the push);
 * `identified` (detail: the reply) when the server knows who we are; `trouble` (detail: Error, with `code` if the server has
 * given one) when a subscription fails or the server complains about something that nobody waits for.
 */
export class Hub extends EventTarget {
  /** `{ name: "connecting" | "open" | "waiting" | "closed", code?, reason?, retryMs? }` */
  state = { name: "closed" };
  /** What the server calls this connection. */
  session = "";

  #socket = null;
  #codec = null;
  #credential = null; // { user } or { token }, as it goes to the server
  #subscriptions = new Set();
  #positions = new Map(); // topic -> { epoch, offset }: everything up to there has come, or was announced as a gap
  #resumption = null; // { messages, missed, pending }: what has been caught up, and the subscriptions that have yet to
  #waiting = new Map(); // command id -> { resolve, reject }
  #lastId = 0;
  #attempt = 0;
  #openedAt = 0;
  #goodbye = null;
  #pingMs = 25_000;
  #retryTimer = 0;
  #silenceTimer = 0;

  constructor({ url = defaultUrl(), protocol = "pubsub.json" } = {}) {
    super();
    this.url = url;
    this.protocol = protocol in CODECS ? protocol : "pubsub.json";
    // Browsers may keep a socket that leads nowhere for minutes. Without a network it is given up at once, for resuming
    // costs little; the back-off goes on meanwhile, because a browser can be wrong about the network (its own machine).
    addEventListener("offline", () => this.#socket && this.#closed({ code: 1006, reason: "the network is gone" }));
    addEventListener("online", () => this.state.name === "waiting" && this.open());
    this.open();
  }

  async open() {
    this.#drop();
    this.#setState({ name: "connecting" });
    const protocol = this.protocol;
    const codec = await CODECS[protocol]().catch(() => null);
    if (this.state.name !== "connecting" || protocol !== this.protocol || this.#socket) return; // changed our mind meanwhile
    if (!codec) return this.#closed({ code: 1006, reason: "the codec could not be loaded" });

    const socket = new WebSocket(this.url, [protocol]);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(codec.decode(data));
    socket.onclose = (event) => socket === this.#socket && this.#closed(event);
    this.#socket = socket;
    this.#codec = codec;
  }

  /** Ends the connection and stays away until `open()`. */
  close() {
    this.#drop();
    this.#setState({ name: "closed", code: 1000, reason: "closed by this page" });
  }

  /** Changes the subprotocol: a new connection, the same subscriptions. */
  use(protocol) {
    this.protocol = protocol;
    return this.open();
  }

  /**
   * Says who we are, to subscriptions made from now on: a name, where names are believed, or `{ token }`. `null` is nobody,
   * for which it takes a new connection. Said again after every reconnect.
   */
  authenticate(who) {
    const credential = typeof who === "string" ? { user: who } : who;
    if (credential?.user === this.#credential?.user && credential?.token === this.#credential?.token) return;
    this.#credential = credential;
    if (credential === null) this.open();
    else if (this.state.name === "open") this.#introduce();
  }

  /**
   * Subscribes to a topic or pattern, now and after every reconnect. `onMessage` gets `{ topic, epoch, offset, data, replayed }`, the
   * last of them true for what was published before. Options go to the server as they are, for instance `{ echo: false }`.
   * Returns `{ change(options), end() }`, which resolve when the server has agreed.
   */
  subscribe(topic, onMessage, options = {}) {
    // `past` is what is to be caught up: null until the server has answered, and again without a connection. `settled`
    // says that the first replay is over, so that from now on our positions say what is to come.
    const subscription = { topic, onMessage, options, past: null, settled: false };
    this.#subscriptions.add(subscription);
    if (this.state.name === "open") this.#ask(subscription);
    return {
      change: async (changed) => {
        subscription.options = { ...changed, replay: options.replay };
        if (this.state.name === "open") await this.command({ op: "subscribe", topic, ...changed, replay: undefined });
      },
      end: () => this.#end(subscription),
    };
  }

  /** Resolves with the `published` reply: `{ topic, epoch, offset, subscribers }`. */
  publish(topic, data) {
    return this.command({ op: "publish", topic, data });
  }

  /** Sends any command; resolves with its reply, rejects with its error or when the connection ends first. */
  command(command) {
    if (this.state.name !== "open") return Promise.reject(new Error("not connected"));
    const id = ++this.#lastId;
    this.#send({ ...command, id });
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #send(map) {
    this.#socket.send(this.#codec.encode(map));
  }

  #receive(map) {
    this.#listen();
    if (map.id !== undefined && this.#waiting.has(map.id)) {
      const { resolve, reject } = this.#waiting.get(map.id);
      this.#waiting.delete(map.id);
      return map.op === "error" ? reject(Object.assign(new Error(`${map.code}: ${map.message}`), { code: map.code })) : resolve(map);
    }
    switch (map.op) {
      case "welcome":
        this.#pingMs = map.ping_ms || this.#pingMs;
        this.#openedAt = Date.now();
        this.session = map.session;
        this.#setState({ name: "open" });
        this.#welcome();
        break;
      case "message":
        this.#message(map);
        break;
      case "gap":
        this.#gap(map);
        break;
      case "presence":
      case "expiring":
        this.dispatchEvent(new CustomEvent(map.op, { detail: map }));
        break;
      case "goodbye":
        this.#goodbye = map; // the close follows
        break;
      case "error":
      case "unsubscribed":
        this.#trouble(Object.assign(new Error(`${map.code}: ${map.message ?? map.topic}`), { code: map.code }));
        break;
    }
  }

  // --- Subscriptions and where they are

  #welcome() {
    if (this.#credential !== null) this.#introduce();
    const pending = new Set([...this.#subscriptions].filter(({ settled }) => settled));
    this.#resumption = pending.size ? { messages: 0, missed: 0, ...this.#resumption, pending } : null;
    for (const subscription of this.#subscriptions) this.#ask(subscription);
  }

  #introduce() {
    const known = (reply) => this.dispatchEvent(new CustomEvent("identified", { detail: reply }));
    this.command({ op: "authenticate", ...this.#credential }).then(known, (error) => this.#trouble(error));
  }

  /** Subscribes: the first time as it was said, later to all that has come since. */
  async #ask(subscription) {
    const { topic, options, settled } = subscription;
    const first = options.replay ?? { last: 0 }; // even nothing of the past, so that the answer says where we are
    const replay = options.group ? undefined : settled ? { after: this.#positionsOf(topic) } : first;
    try {
      const command = { op: "subscribe", topic, ...options };
      // A pattern can match too many topics for a replay; then there is only the present.
      const presentOnly = (error) => {
        if (error.code !== "limit_reached" || !replay) throw error;
        if (this.#resumption) this.#resumption.missed = null;
        return this.command({ ...command, replay: undefined });
      };
      this.#begin(subscription, await this.command({ ...command, replay }).catch(presentOnly));
    } catch (error) {
      if (this.state.name !== "open") return; // we shall ask again
      if (this.#resumption) this.#resumption.missed = null;
      this.#resumed(subscription);
      this.#trouble(error);
    }
  }

  #positionsOf(pattern) {
    const known = [...this.#positions].filter(([topic]) => matches(pattern, topic));
    return Object.fromEntries(known.slice(-AFTER_TOPICS_MAX)); // the others come as a whole, and what we know of them is passed over
  }

  /** The server has answered: what it replays follows, then what is new. */
  #begin(subscription, { topic, epoch, offset, positions, replayed = 0, recovered = true }) {
    if (!this.#subscriptions.has(subscription)) return; // ended meanwhile
    const ends = new Map(Object.entries(positions ?? (epoch ? { [topic]: { epoch, offset } } : {})));
    const past = { ends, left: replayed, recovered, gaps: false, anew: false, asked: false, over: false, placed: Boolean(positions ?? epoch) };
    for (const [name, end] of ends) {
      const known = this.#positions.get(name);
      if (known?.epoch === end.epoch && known.offset <= end.offset) continue;
      past.anew ||= known !== undefined; // what we have of it is of another log
      this.#reach(name, end.epoch, 0);
    }
    subscription.past = past;
    this.#settle(subscription);
  }

  #message(map) {
    const { topic, offset } = map;
    const known = this.#positions.get(topic);
    const epoch = map.epoch ?? known?.epoch;
    const takers = this.#takersOf(topic);
    if (!takers.length || (epoch === known?.epoch && offset <= known?.offset)) return; // of a replay that has begun anew
    if (epoch) this.#reach(topic, epoch, offset);
    if ("data_base64" in map) map.data = Uint8Array.from(atob(map.data_base64), (char) => char.charCodeAt(0));
    for (const subscription of takers) {
      const end = subscription.past.ends.get(topic);
      const replayed = end?.epoch === epoch && offset <= end.offset;
      subscription.onMessage({ ...map, epoch, replayed });
      if (replayed && subscription.past) subscription.past.left -= 1; // without a past it has just been ended
      if (replayed && this.#resumption?.pending.has(subscription)) this.#resumption.messages += 1;
      this.#settle(subscription);
    }
  }

  #gap(map) {
    const { topic, epoch, from, to, why } = map;
    const takers = this.#takersOf(topic);
    if (!takers.length) return;
    this.#reach(topic, epoch, to);
    if (this.#resumption && this.#resumption.missed !== null) this.#resumption.missed += to - from + 1;
    for (const subscription of takers) {
      subscription.past.gaps = true;
      if (subscription.past.recovered && why === "history") subscription.past.left -= to - from + 1; // they were to come, and are no more
      this.#settle(subscription);
    }
    this.dispatchEvent(new CustomEvent("gap", { detail: map }));
  }

  /** The subscriptions that are in force; of one that the server has not answered yet nothing comes, so it is another's. */
  #takersOf(topic) {
    return [...this.#subscriptions].filter((subscription) => subscription.past && matches(subscription.topic, topic));
  }

  #reach(topic, epoch, offset) {
    this.#positions.delete(topic); // the latest stands last
    this.#positions.set(topic, { epoch, offset });
  }

  /**
   * Looks whether the past of a subscription is over: when every topic is where it stood, or when as many messages have come as
   * were announced, and then the answer to a ping, because gaps can come behind them.
   */
  #settle(subscription, answered = false) {
    const { past } = subscription;
    if (!past || past.over) return;
    const open = [...past.ends].filter(([topic, { epoch, offset }]) => {
      const known = this.#positions.get(topic);
      return known?.epoch === epoch && known.offset < offset;
    });
    if (open.length && past.left > 0) return;
    if (open.length && !answered) {
      if (!past.asked) this.command({ op: "ping" }).then(() => subscription.past === past && this.#settle(subscription, true), () => {});
      past.asked = true;
      return;
    }
    for (const [topic, { epoch, offset }] of open) this.#reach(topic, epoch, offset);
    past.over = true;
    subscription.settled = past.placed;
    this.#resumed(subscription);
  }

  #resumed(subscription) {
    const resumption = this.#resumption;
    if (!resumption?.pending.delete(subscription)) return;
    const { recovered, gaps, anew } = subscription.past ?? { recovered: true };
    if (!recovered && (anew || !gaps)) resumption.missed = null; // of a log that has ended nobody knows how long it was
    if (resumption.pending.size) return;
    this.#resumption = null;
    this.dispatchEvent(new CustomEvent("resumed", { detail: { messages: resumption.messages, missed: resumption.missed } }));
  }

  async #end(subscription) {
    const { topic } = subscription;
    if (!this.#subscriptions.delete(subscription)) return;
    this.#resumed(subscription);
    const wanted = (name) => [...this.#subscriptions].some((other) => matches(other.topic, name));
    for (const name of this.#positions.keys()) if (!wanted(name)) this.#positions.delete(name);
    if (this.state.name === "open") await this.command({ op: "unsubscribe", topic }).catch((error) => this.#trouble(error));
  }

  // --- The connection

  /** Nothing heard for a while: ask. Still nothing: the connection is dead, whatever the browser believes. */
  #listen() {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => {
      this.#send({ op: "ping" });
      this.#silenceTimer = setTimeout(() => this.#closed({ code: 1006, reason: "no answer to a ping" }), PONG_TIMEOUT_MS);
    }, this.#pingMs);
  }

  #closed({ code, reason }) {
    const stable = this.#openedAt && Date.now() - this.#openedAt > STABLE_AFTER_MS;
    const verdict = this.#goodbye?.reconnect ?? verdictOf(code);
    const afterMs = this.#goodbye?.after_ms ?? 0;
    this.#drop();
    if (verdict === "never") return this.#setState({ name: "closed", code, reason });

    this.#attempt = stable ? 0 : this.#attempt + 1;
    const spreadMs = verdict === "now" && this.#attempt < 3 ? 300 : Math.min(BACKOFF_MAX_MS, 500 * 2 ** this.#attempt);
    const retryMs = afterMs + Math.round(spreadMs * (0.5 + Math.random() / 2)); // or all clients come back at the same moment
    this.#setState({ name: "waiting", code, reason, retryMs });
    this.#retryTimer = setTimeout(() => this.open(), retryMs);
  }

  /** Forgets the present connection, whatever its state; commands that still wait are rejected. */
  #drop() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#silenceTimer);
    this.#socket?.close(1000);
    this.#socket = this.#goodbye = null;
    this.#openedAt = 0;
    for (const subscription of this.#subscriptions) subscription.past = null;
    for (const { reject } of this.#waiting.values()) reject(new Error("connection lost"));
    this.#waiting.clear();
  }

  #setState(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  #trouble(error) {
    if (error.message !== "connection lost") this.dispatchEvent(new CustomEvent("trouble", { detail: error }));
  }
}

/** The server of this page: ws://host/ws, or wss:// when the page came over TLS. */
export function defaultUrl() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}

/** In TopicHub's close codes the hundred is the verdict; below 4000 it depends on who has made a mistake. */
export function verdictOf(code) {
  if (code >= 4000) return { 40: "never", 41: "later", 42: "now" }[Math.floor(code / 100)] ?? "later";
  return [1002, 1003, 1007, 1008, 1009].includes(code) ? "never" : "later"; // ours would be the same mistake again
}

/** Whether a topic matches a pattern: `*` is one token, `>` at the end is one or more. */
export function matches(pattern, topic) {
  const wanted = pattern.split(".");
  const tokens = topic.split(".");
  const fits = wanted.every((want, i) => (want === ">" ? tokens.length > i : want === "*" || want === tokens[i]));
  return fits && (wanted.at(-1) === ">" || wanted.length === tokens.length);
}

/**
 * The fields of a payload, whatever somebody has published: a map as it is, bytes that hold a JSON map (`curl -d` says
 * nothing about its type), and `{}` for all the rest.
 */
export function fields(data) {
  if (data instanceof Uint8Array) {
    try {
      data = JSON.parse(new TextDecoder().decode(data));
    } catch {
      return {};
    }
  }
  return data !== null && typeof data === "object" && !Array.isArray(data) && !ArrayBuffer.isView(data) ? data : {};
}
