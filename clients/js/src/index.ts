/**
 * TopicHub for programs: `connect`, and all that it returns.
 *
 * @packageDocumentation
 */

import { Hub as Made, type AnyTopics, type Hub } from "./hub.js";
import type { ConnectOptions } from "./options.js";

/**
 * Connects to a server, and goes on doing so. Returns at once: what is subscribed before it is connected is asked for then.
 *
 * @param url `https://host`, `wss://host/ws`, or in pages a path such as `/ws`. Without a path it is `/ws`; the HTTP API is beside it.
 */
export function connect<Topics extends object = AnyTopics>(url: string | URL, options?: ConnectOptions): Hub<Topics> {
  return new Made(url, options);
}

export type { Hub } from "./hub.js";
export type { AnyTopics, HubEventMap } from "./hub.js";
export type { Verdict } from "./backoff.js";
export type { State, StateChange } from "./connection.js";
export type { ConnectOptions, PublishOptions, SubscribeOptions, Way } from "./options.js";
export type { History, PresenceState, Published } from "./reply.js";
export { BufferOverflow, ClosedError, CommandError, ConnectionLost, HubError, OfflineError } from "./errors.js";
export type { Message } from "./message.js";
export type { Gap, Member, Presence, Subscribed, SubscriptionEvent } from "./message.js";
export type { Subscription } from "./subscription.js";
export type { SubscriptionEventMap } from "./subscription.js";
export { matches } from "./topic.js";
export type { Codec, Position, Wire } from "./wire.js";
export type { Clock } from "./clock.js";
export type { Address, End, Link, Listener, Transport } from "./transport/transport.js";
