/** What programs may say when they connect, subscribe and publish. */

import type { Clock } from "./clock.js";
import type { Transport } from "./transport/transport.js";
import type { Codec, Position } from "./wire.js";

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
  /** When more do: the oldest goes and a gap takes its place (`"drop"`, default), or the subscription ends with a `BufferOverflow` (`"error"`). */
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
