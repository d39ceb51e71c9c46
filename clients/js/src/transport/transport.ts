/** What a hub asks of a transport: a line to the server that carries maps both ways. */

import type { Verdict } from "../backoff.js";
import type { Clock } from "../clock.js";
import type { Codec, Wire } from "../wire.js";

/** How a line has ended, or why there is none. */
export interface End {
  /** The close code; 1006 if there was none. */
  code?: number;
  reason: string;
  /** The HTTP status by which it was refused. */
  status?: number | undefined;
  /** The code of the problem document that came along. */
  problem?: string | undefined;
  /** Whether to come back; if it is not said, the code tells. */
  reconnect?: Verdict;
  /** How long to stay away at least. */
  after_ms?: number | undefined;
  /** It is the server itself that refuses, as it would by every other way. */
  known?: boolean;
  /** This transport leads nowhere here, whatever it seemed: another should be tried. */
  unfit?: boolean;
}

/** What a hub is told by a line. */
export interface Listener {
  /** The server says something. */
  map(map: Wire): void;
  /** A sign of life that says nothing. */
  heard(): void;
  /** The line is no more. */
  ended(end: End): void;
  /** The `subscribe` commands by which everything that is subscribed to begins, or goes on from where it is. */
  resume(): Wire[];
}

/** A line to the server. */
export interface Link {
  /** Says a command. Throws if it cannot be written. */
  send(map: Wire): void;
  /** Ends the line; nothing is told any more. */
  close(code: number): void;
  /** Whether the server's heartbeat is heard; where it is not, the hub has to ask. */
  readonly beats: boolean;
}

/** Where the server is and how it is spoken to. */
export interface Address {
  readonly ws: string;
  readonly codec: Codec;
  /** The token to show in HTTP requests. */
  token: string | undefined;
  /** What the server takes in one message, once it has said so. */
  message_bytes?: number;
  readonly WebSocket?: unknown;
  readonly fetch?: typeof fetch;
  readonly clock: Clock;
}

/** A way to a server. */
export interface Transport {
  readonly name: string;
  dial(address: Address, listener: Listener): Link | Promise<Link>;
}
