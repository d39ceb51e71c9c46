/** What commands are answered by. The fields are those of the wire. */

import type { Member, Message } from "./message.js";
import type { Position } from "./wire.js";

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
  readonly members?: readonly Member[];
}
