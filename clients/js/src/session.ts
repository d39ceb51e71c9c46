/**
 * What is asked of the server, and where everything stands: subscriptions, positions, commands that wait for their replies. Knows no clock and no
 * network: it is told when there is a connection, gets what comes, and says what it has to say.
 */

import { CommandError, ConnectionLost, HubError } from "./errors.js";
import { Message, type Gap, type Subscribed, type SubscriptionEvent } from "./message.js";
import type { Subscription } from "./subscription.js";
import { isPattern, matches } from "./topic.js";
import type { Position, Wire } from "./wire.js";

const AFTER_TOPICS_MAX = 500; // positions in one command
const ROUTES_MAX = 10_000;
const OWN_MAX = 500;

/** Where a topic stands. */
interface Track {
  epoch: string;
  /** Everything up to here has come or was announced as a gap: what is at or below it is passed over. */
  seen: number;
  /** From where to go on, after a reconnect. -1: from the beginning, as nothing has come of what was asked for first. */
  at: number;
  /** Where the past ends: up to here messages are replayed ones. */
  end: number;
  /** The newest that we have published here, if `echo` is not wanted: to a later session they are another's. */
  own: number[];
  /** When it was heard of, among all. */
  tick: number;
}

/** A subscription on the server, with those here that share it. */
export interface Feed {
  /** The topic or pattern. */
  readonly wanted: string;
  asked: Wire;
  readonly takers: Set<Subscription>;
  /** The server has agreed once, so that from now on positions say what is to come. */
  live?: boolean;
  /** The first replay is over. */
  known?: boolean;
  /** It matches too many topics for a replay; then there is only the present. */
  bare?: boolean;
  /** How many messages are still to be replayed, and where each topic will be then. */
  left: number;
  ends: Record<string, Position>;
  recovered?: boolean;
  /** The last that the server has said of it, for those that join. */
  said?: Subscribed;
}

/** A command that waits for its reply, or before that for a connection. */
interface Pending {
  map: Wire;
  settle(reply: Wire): void;
  fail(error: HubError): void;
  /** How much it takes of what may wait for a connection. */
  bytes: number;
}

/** By whom it speaks. */
interface Mouth {
  say(map: Wire): void;
  /** A subscription was refused. Returns whether it is tried again. */
  refused(feed: Feed, error: HubError & Partial<CommandError>): unknown;
}

export class Session {
  readonly feeds = new Map<string, Feed>();
  /** What the server takes in one message; positions have to fit in. */
  messageBytesMax!: number;
  #tracks = new Map<string, Track>();
  #routes = new Map<string, Feed[]>();
  #pending = new Map<number, Pending>();
  waitingBytes = 0;
  #lastId = 0;
  #tick = 0;
  #open = false;

  constructor(private readonly mouth: Mouth) {}

  /** Says a command, or keeps it until there is a connection. Returns its id. */
  command(map: Wire, settle: Pending["settle"], fail: Pending["fail"], bytes = 0): number {
    const id = ++this.#lastId;
    this.#pending.set(id, { map, settle, fail, bytes });
    this.waitingBytes += bytes;
    this.#say(id);
    return id;
  }

  #say(id: number): void {
    const pending = this.#pending.get(id);
    if (!pending || !this.#open) return;
    try {
      this.mouth.say({ ...pending.map, id });
    } catch (error) {
      // It cannot be written.
      this.forget(id);
      pending.fail(error as HubError);
    }
  }

  #call(map: Wire): Promise<Wire> {
    return new Promise((resolve, reject) => this.command(map, resolve, reject));
  }

  /** How many commands wait. */
  get waiting(): number {
    return this.#pending.size;
  }

  /** Nobody waits for this reply any more. */
  forget(id: number): void {
    this.waitingBytes -= this.#pending.get(id)?.bytes ?? 0;
    this.#pending.delete(id);
  }

  // --- The connection

  /** There is a connection: says who this is, subscribes to everything, and says what has waited. */
  opened(authenticate: () => void): void {
    const waiting = [...this.#pending.keys()];
    this.#open = true;
    authenticate();
    for (const feed of this.feeds.values()) {
      feed.bare = false;
      this.ask(feed);
    }
    for (const id of waiting) this.#say(id);
  }

  /** There is none any more. What can be said again waits for the next. */
  lost(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const [id, { map, fail }] of this.#pending) {
      if (map.dedup) continue;
      this.forget(id);
      fail(new ConnectionLost("connection_lost", "perhaps it was done"));
    }
  }

  /** All is over. Subscriptions are told why only if the program did not want so. */
  end(closed: HubError, error?: HubError): void {
    for (const feed of [...this.feeds.values()]) this.#remove(feed, error);
    for (const { fail } of this.#pending.values()) fail(closed);
    this.#pending.clear();
  }

  // --- Subscriptions

  /** Adds a subscription to what the server is asked for. */
  enter(subscription: Subscription, options: Wire): void {
    const name = subscription.topic;
    let feed = this.feeds.get(name);
    if (feed) {
      if (JSON.stringify(feed.asked) !== JSON.stringify(options)) throw new HubError("already_subscribed", `${name} has other options`);
      feed.takers.add(subscription);
      const { said } = feed;
      if (said) queueMicrotask(() => subscription._take({ ...said, replayed: 0 }));
      return;
    }
    feed = { wanted: name, asked: options, takers: new Set([subscription]), left: 0, ends: {} };
    this.feeds.set(name, feed);
    this.#routes.clear();
    if (this.#open) this.ask(feed);
  }

  /** Takes it away. Resolves when the server has agreed, or is not there to do so. */
  async leave(subscription: Subscription): Promise<void> {
    const feed = this.feeds.get(subscription.topic);
    if (!feed?.takers.delete(subscription) || feed.takers.size) return;
    this.#remove(feed);
    if (this.#open) await this.#call({ op: "unsubscribe", topic: feed.wanted }).catch(() => {});
  }

  /** Other options, now and after every reconnect. */
  async change(topic: string, options: object): Promise<void> {
    const feed = this.feeds.get(topic);
    if (!feed) return;
    feed.asked = { ...options, replay: feed.asked.replay };
    if (this.#open) await this.#call({ op: "subscribe", topic, ...options });
  }

  #remove(feed: Feed, error?: HubError): void {
    this.feeds.delete(feed.wanted);
    this.#routes.clear();
    for (const topic of this.#tracks.keys()) if (matches(feed.wanted, topic) && !this.#routeOf(topic).length) this.#tracks.delete(topic);
    for (const taker of feed.takers) {
      feed.takers.delete(taker);
      taker._end(error);
    }
  }

  /** The commands by which all subscriptions begin, or go on from where they are. */
  resume(): Wire[] {
    return [...this.feeds.values()].map((feed) => this.#commandOf(feed));
  }

  #commandOf({ wanted: name, asked: options, live, known, bare }: Feed): Wire {
    const command = { op: "subscribe", topic: name, ...options };
    if (options.group || bare) return { ...command, replay: undefined };
    const first = { ...command, replay: options.replay ?? { last: 0 } }; // even nothing of the past, so that the answer says where we are
    if (!live) return first;
    if (!isPattern(name)) {
      const track = this.#tracks.get(name);
      return track && track.at >= 0 ? { ...command, replay: { after: { epoch: track.epoch, offset: track.at } } } : first;
    }
    // The latest; the others come as a whole, and what we know of them is passed over.
    const tracks = [...this.#tracks].filter(([topic, { at }]) => at >= 0 && matches(name, topic)).sort(([, a], [, b]) => b.tick - a.tick);
    if (!known && !tracks.length) return first;
    let room = this.messageBytesMax / 2;
    const latest = tracks.slice(0, AFTER_TOPICS_MAX).filter(([topic]) => (room -= topic.length * 3 + 60) > 0);
    return { ...command, replay: { after: Object.fromEntries(latest.map(([topic, { epoch, at }]) => [topic, { epoch, offset: at }])) } };
  }

  /** Asks the server for it, if it is still wanted. */
  ask(feed: Feed): void {
    if (!this.#open || !feed.takers.size) return;
    const fail = (error: HubError) => {
      if (error instanceof ConnectionLost || !feed.takers.size) return; // if the connection is lost, it is asked for again
      if (error.code === "limit_reached" && !feed.bare && isPattern(feed.wanted)) {
        feed.bare = true;
        for (const topic of this.#tracks.keys()) if (this.#routeOf(topic).every((other) => other === feed)) this.#tracks.delete(topic);
        this.ask(feed);
      } else if (!this.mouth.refused(feed, error)) this.#remove(feed, error);
    };
    this.command(this.#commandOf(feed), (reply) => this.#begin(feed, reply), fail);
  }

  #tell(feed: Feed, event: SubscriptionEvent): void {
    for (const taker of feed.takers) taker._take(event);
  }

  // --- What comes

  /** A reply or push. Returns whether it was for here. */
  receive(map: Wire): boolean {
    const pending = map.id === undefined ? undefined : this.#pending.get(map.id);
    if (pending) {
      this.forget(map.id);
      if (map.op === "error") pending.fail(new CommandError(map));
      else {
        if (map.op === "published" && !map.duplicate && this.#routeOf(map.topic).some(isEcholess)) this.#published(map);
        pending.settle(map);
      }
      return true;
    }
    const feed = this.feeds.get(map.topic);
    if (map.op === "message") this.#message(map);
    else if (map.op === "gap") this.#gap(map);
    else if (!feed) return false;
    else if (map.op === "presence") this.#tell(feed, map as SubscriptionEvent);
    else if (map.op === "subscribed") this.#begin(feed, map);
    else if (map.op === "unsubscribed" && map.code) this.#remove(feed, new CommandError({ ...map, message: `${map.topic}: ${map.code}` }));
    return true;
  }

  /** The server has agreed: what it replays follows, then what is new. */
  #begin(feed: Feed, { topic, epoch, offset, positions, replayed = 0, recovered = true }: Wire): void {
    if (!feed.takers.size) return; // ended meanwhile
    const resumed = feed.live;
    feed.ends = (positions as Record<string, Position> | undefined) ?? (epoch ? { [topic]: { epoch, offset } } : {});
    const anew: string[] = [];
    for (const [name, end] of Object.entries(feed.ends)) {
      let track = this.#tracks.get(name);
      const other = track && (track.epoch !== end.epoch || (!recovered && track.seen > end.offset)); // what we have of it is of another log
      if (other) {
        anew.push(name);
        this.#tracks.delete(name);
      }
      if (!track || other) {
        track = this.#trackOf(name, end.epoch);
        track.at = replayed ? (other ? 0 : -1) : end.offset;
      }
      track.end = end.offset;
    }
    feed.live = true;
    feed.left = replayed;
    feed.recovered = recovered;
    this.#count(feed, 0);
    this.#tell(feed, (feed.said = { op: "subscribed", topic: feed.wanted, ...(epoch && { epoch, offset }), replayed, recovered, resumed }));
    if (feed.bare) this.#tell(feed, { op: "gap", topic: feed.wanted, why: "unknown" });
    for (const name of anew) this.#tell(feed, { op: "gap", topic: name, epoch: feed.ends[name]?.epoch, why: "epoch" });
  }

  #message(map: Wire): void {
    const { topic, offset } = map as { topic: string; offset: number };
    const feeds = this.#routeOf(topic).filter(isLive);
    if (!feeds.length) return; // of a subscription that has just been ended
    let track = this.#tracks.get(topic);
    const epoch = (map.epoch as string | undefined) ?? track?.epoch;
    if (epoch !== undefined) {
      if (track?.epoch !== epoch) track = this.#trackOf(topic, epoch);
      if (offset <= track.seen) return; // of a replay that has begun anew
      this.#reach(track, offset);
    }
    const isOwn = feeds.every(isEcholess) && track?.own.includes(offset);
    const message = new Message(map, epoch, track !== undefined && offset <= track.end);
    for (const feed of feeds) {
      if (!isOwn) for (const taker of feed.takers) taker._take(message);
      if (feed.left > 0 && message.replayed && Object.hasOwn(feed.ends, topic)) this.#count(feed, 1);
    }
  }

  #published({ topic, epoch, offset }: Wire): void {
    const { own } = this.#tracks.get(topic) ?? this.#trackOf(topic, epoch);
    if (own.push(offset) > OWN_MAX) own.shift();
  }

  #gap({ topic, epoch, from, to, why }: Wire): void {
    const feeds = this.#routeOf(topic).filter(isLive);
    if (!feeds.length) return;
    const track = this.#trackOf(topic, epoch);
    if (to <= track.seen) return;
    const gap: Gap = { op: "gap", topic, epoch, from: Math.max(from, track.seen + 1), to, why };
    this.#reach(track, to);
    for (const feed of feeds) {
      this.#tell(feed, gap);
      // They were to come, and are no more.
      if (feed.left > 0 && feed.recovered && why === "history") this.#count(feed, to - (gap.from as number) + 1);
    }
  }

  /** The track of a topic in this epoch, which may be a new one. */
  #trackOf(topic: string, epoch: string): Track {
    let track = this.#tracks.get(topic);
    if (track?.epoch !== epoch) this.#tracks.set(topic, (track = { epoch, seen: 0, at: -1, end: 0, own: [], tick: ++this.#tick }));
    return track;
  }

  #reach(track: Track, offset: number): void {
    track.seen = offset;
    if (track.at < offset) track.at = offset;
    track.tick = ++this.#tick;
  }

  /** So many of what was to be replayed have come. When all have, every topic is where the server said it would be, though nothing came of some. */
  #count(feed: Feed, come: number): void {
    feed.left -= come;
    if (feed.left > 0) return;
    feed.known = true;
    if (!feed.recovered) return;
    for (const [topic, end] of Object.entries(feed.ends)) this.#advance(feed, topic, end);
  }

  /** A topic is where the server said it would be, unless another subscription is still getting its past. */
  #advance(feed: Feed, topic: string, { epoch, offset }: Position): void {
    const track = this.#tracks.get(topic);
    if (track?.epoch === epoch && track.at < offset && this.#routeOf(topic).every((other) => other === feed || other.left <= 0)) track.at = offset;
  }

  /** The subscriptions that a topic is for. */
  #routeOf(topic: string): Feed[] {
    let feeds = this.#routes.get(topic);
    if (!feeds) {
      feeds = [...this.feeds.values()].filter(({ wanted }) => matches(wanted, topic));
      if (this.#routes.size >= ROUTES_MAX) this.#routes.clear();
      this.#routes.set(topic, feeds);
    }
    return feeds;
  }
}

const isLive = (feed: Feed) => feed.live;
const isEcholess = (feed: Feed) => feed.asked.echo === false;
