/**
 * A TopicHub connection in the browser, on nothing but the browser's own WebSocket.
 *
 *     const hub = new Hub();
 *     hub.subscribe("ticker.>", ({ topic, data }) => console.log(topic, data));
 *     await hub.publish("chat.lobby", { text: "hello" });
 *
 * How it works, in four sentences. We connect and offer one subprotocol: it decides how maps are written (JSON text or
 * MessagePack bytes), the maps are the same. A command carries an `id`, and the one reply that bears this `id` settles its
 * promise. Everything else is a push: `message` goes to the subscriptions that match its topic. When the connection
 * ends, the close code says whether to come back, and after coming back we subscribe again.
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

/**
 * Events: `state` whenever `hub.state` changes, `trouble` (detail: Error) when a subscription fails or the server
 * complains about something that nobody waits for.
 */
export class Hub extends EventTarget {
  /** `{ name: "connecting" | "open" | "waiting" | "closed", code?, reason?, retryMs? }` */
  state = { name: "closed" };
  /** Messages received so far, over all connections. */
  received = 0;

  #socket = null;
  #codec = null;
  #subscriptions = new Set();
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
   * Subscribes to a topic or pattern, now and after every reconnect. `onMessage` gets `{ topic, offset, data }`.
   * Options go to the server as they are, for instance `{ echo: false }`. Returns a function that unsubscribes.
   */
  subscribe(topic, onMessage, options = {}) {
    const subscription = { topic, onMessage, options };
    this.#subscriptions.add(subscription);
    if (this.state.name === "open") this.#resume(subscription);
    return () => {
      this.#subscriptions.delete(subscription);
      if (this.state.name === "open") this.command({ op: "unsubscribe", topic }).catch((error) => this.#trouble(error));
    };
  }

  /** Resolves with the `published` reply: `{ topic, epoch, offset }`. */
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
      return map.op === "error" ? reject(new Error(`${map.code}: ${map.message}`)) : resolve(map);
    }
    switch (map.op) {
      case "welcome":
        this.#pingMs = map.ping_ms || this.#pingMs;
        this.#openedAt = Date.now();
        this.#setState({ name: "open" });
        for (const subscription of this.#subscriptions) this.#resume(subscription);
        break;
      case "message":
        this.received += 1;
        if ("data_base64" in map) map.data = Uint8Array.from(atob(map.data_base64), (char) => char.charCodeAt(0));
        for (const { topic, onMessage } of this.#subscriptions) if (matches(topic, map.topic)) onMessage(map);
        break;
      case "goodbye":
        this.#goodbye = map; // the close follows
        break;
      case "error":
      case "unsubscribed":
        this.#trouble(new Error(`${map.code}: ${map.message ?? map.topic}`));
        break;
    }
  }

  #resume({ topic, options }) {
    this.command({ op: "subscribe", topic, ...options }).catch((error) => this.#trouble(error));
  }

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
