/** What a subscription brings. The fields are those of the wire. */

import { bytesOf } from "./codec/json.js";
import type { Wire } from "./wire.js";

/** A message of a topic. */
export class Message<T = unknown> {
  readonly op = "message" as const;
  /** The topic it was published to, also where a pattern matched. */
  readonly topic: string;
  /** Its index in the topic, from 1. */
  readonly offset: number;
  /** Which incarnation of the topic's log; `undefined` where nobody has told (subscriptions without a replay). */
  readonly epoch: string | undefined;
  /** What was published. Bytes are a `Uint8Array`. */
  readonly data: T;
  /** Which of the topic's things it is about, if the publisher has said so. */
  readonly key: string | undefined;
  /** What the publisher has passed along. */
  readonly meta: Readonly<Record<string, string>> | undefined;
  /** Where an answer is to go, if one is waited for: see {@link Hub.reply}. */
  readonly reply_to: string | undefined;
  /** Whether it was published before the subscription, or while there was no connection. */
  readonly replayed: boolean;

  /** @internal */
  constructor(map: Wire, epoch: string | undefined, replayed: boolean) {
    this.topic = map.topic;
    this.offset = map.offset;
    this.epoch = epoch;
    this.data = map.data_base64 === undefined ? map.data : bytesOf(map.data_base64);
    this.key = map.key;
    this.meta = map.meta;
    this.reply_to = map.reply_to;
    this.replayed = replayed;
  }
}

/** Messages that do not come. */
export interface Gap {
  readonly op: "gap";
  /** The topic; the name subscribed to, if `why` is `unknown`. */
  readonly topic: string;
  readonly epoch?: string | undefined;
  /** The first offset that is missing; not there if nobody can know it. */
  readonly from?: number;
  /** The last offset that is missing. */
  readonly to?: number;
  /**
   * `dropped`, `conflated`: this client was slow. `history`, `expired`: the server does not retain them any more. `buffer`: the program was slow.
   * `epoch`: the topic's log has begun anew. `unknown`: the pattern matches too many topics to find out.
   */
  readonly why: "dropped" | "conflated" | "history" | "expired" | "buffer" | "epoch" | "unknown" | (string & {});
}

/** Who is on a topic: the state, or with `change` what has changed in it (SPEC §15). */
export interface Presence {
  readonly op: "presence";
  readonly topic: string;
  readonly change?: true;
  readonly count: number;
  readonly sessions: number;
  readonly members?: readonly Member[];
  readonly joined?: readonly Member[];
  readonly left?: readonly Member[];
}

/** A user, or a session that has named no user. */
export interface Member {
  readonly user?: string;
  readonly session?: string;
  readonly data?: unknown;
}

/** The subscription is in force: after it was made, and after every reconnect. */
export interface Subscribed {
  readonly op: "subscribed";
  /** The name subscribed to. */
  readonly topic: string;
  readonly epoch?: string;
  /** The topic's latest offset. What was published up to there is the past. */
  readonly offset?: number;
  /** How many messages of the past are to come. */
  readonly replayed: number;
  /** `false` if what was asked for is not retained any more: a {@link Gap} says what is missing. */
  readonly recovered: boolean;
  /** Whether it goes on after the connection was lost. */
  readonly resumed: boolean;
}

/** All that a subscription brings; `op` tells which it is. */
export type SubscriptionEvent<T = unknown> = Message<T> | Gap | Presence | Subscribed;
