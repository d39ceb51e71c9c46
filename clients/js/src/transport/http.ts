/**
 * A line over plain HTTP, for networks that kill WebSockets: what is subscribed to comes by `/events`, each command is a request
 * of its own. How the events come is for `events.ts` and `poll.ts`.
 */

import { withBase64 } from "../codec/json.js";
import type { Position, Wire } from "../wire.js";
import { problemOf } from "./problem.js";
import type { Address, End, Link, Listener } from "./transport.js";

/** Nothing by then: a proxy keeps back what comes. */
export const FIRST_MS = 10_000;

/** An answer that is no stream of events: what to make of it. */
export class Refused extends Error {
  constructor(readonly end: End) {
    super(end.reason);
  }
}

export abstract class HttpLink implements Link {
  #ids = new Map<string, unknown>(); // subscriptions that wait for their reply
  #commands: Promise<unknown> = Promise.resolve();
  #over = new AbortController();
  #stream: AbortController | undefined;
  #planned = false;
  #base: URL;
  beats = false;

  constructor(
    protected readonly address: Address,
    protected readonly listener: Listener,
  ) {
    // The HTTP API is beside the WebSocket.
    this.#base = new URL(".", address.ws);
    this.#base.protocol = this.#base.protocol.replace("ws", "http");
    // The server is there if it says so; a captive portal would say something else.
    this.fetch("healthz").then(
      (response) => (response.headers.get("content-type")?.includes("html") ? this.#end({ code: 1006, reason: "this is not the server", unfit: true }) : this.tell({ op: "welcome", session: "" })),
      (error) => this.fail(error),
    );
  }

  /** Lets events come until the signal says otherwise. */
  protected abstract listen(commands: Wire[], signal: AbortSignal): Promise<void>;

  /** Whether subscriptions wait for their reply. */
  protected get isAwaited(): boolean {
    return this.#ids.size > 0;
  }

  close(): void {
    this.#over.abort();
    this.#stream?.abort();
  }

  send(map: Wire): void {
    const { op, id, topic } = map;
    if (op === "subscribe") {
      this.#ids.set(topic, id);
      this.#plan();
    } else if (op === "unsubscribe") {
      this.#plan();
      this.#later(() => this.tell({ op: "unsubscribed", id, topic }));
    } else if (op === "authenticate") {
      if (this.#stream) this.#plan(); // with the new token, which is in the address
      this.#later(() => this.tell({ op: "authenticated", id, user: map.user }));
    } else {
      // One after the other, as on a WebSocket.
      const body = JSON.stringify(withBase64(map));
      this.#commands = this.#commands.then(() => this.#carry(map, body)).catch((error) => this.fail(error, id));
    }
  }

  #later(act: () => void): void {
    queueMicrotask(() => this.#over.signal.aborted || act());
  }

  async #carry(map: Wire, body: string): Promise<void> {
    const { op, id, topic } = map;
    const path = `topics/${encodeURIComponent(topic)}/`;
    let reply: Wire;
    if (op === "publish") {
      [reply] = (await this.#json("publish", { method: "POST", body: `[${body}]` })) as [Wire];
      if (reply.error) return this.tell({ ...reply.error, op: "error", id });
      reply.op = "published";
    } else if (op === "history") {
      const query = new URLSearchParams();
      for (const side of ["after", "before"]) if (map[side]) query.set(side, `${(map[side] as Position).epoch}:${(map[side] as Position).offset}`);
      if (map.limit) query.set("limit", map.limit);
      reply = { op, ...(await this.#json(`${path}messages?${query}`)) };
    } else if (op === "presence") reply = { op, ...(await this.#json(`${path}presence`)) };
    else if (op === "ping") {
      await this.fetch("healthz");
      reply = { op: "pong" };
    } else reply = { op: "error", code: "unavailable", message: `${op} needs a WebSocket, which this network does not let through`, retry: true };
    this.tell({ ...reply, id });
  }

  async #json(path: string, init?: RequestInit): Promise<Wire> {
    return (await (await this.fetch(path, init)).json()) as Wire;
  }

  /** Asks; throws what is no success. */
  protected async fetch(path: string, init: RequestInit = {}, signal: AbortSignal = this.#over.signal): Promise<Response> {
    const headers = new Headers(init.headers);
    if (init.body) headers.set("content-type", "application/json");
    if (this.address.token !== undefined) headers.set("authorization", `Bearer ${this.address.token}`);
    const fetch = this.address.fetch ?? globalThis.fetch;
    const response = await fetch(new URL(path, this.#base), { ...init, headers, signal, cache: "no-store" });
    if (!response.ok) throw new Refused({ ...problemOf(response.status, await response.text()), after_ms: Number(response.headers.get("retry-after")) * 1000 || 0 });
    return response;
  }

  protected events(query: string, accept: string, commands: Wire[], signal: AbortSignal): Promise<Response> {
    return this.fetch(`events${query}`, { method: "POST", body: JSON.stringify(commands), headers: { accept } }, signal);
  }

  /** Something is subscribed to or no more: another stream, from where everything is by then. */
  #plan(): void {
    if (this.#planned) return;
    this.#planned = true;
    this.#later(() => {
      this.#planned = false;
      this.#stream?.abort();
      const commands = this.listener.resume();
      const stream = (this.#stream = new AbortController());
      this.beats = commands.length > 0;
      if (!this.beats) return;
      this.listen(commands, stream.signal)
        .catch((error) => (stream.signal.aborted ? undefined : this.#refused(error, commands, stream.signal)))
        .catch((error) => stream.signal.aborted || this.fail(error));
    });
  }

  /** The server does not take all of these subscriptions: finds out which. */
  async #refused(error: unknown, commands: Wire[], signal: AbortSignal): Promise<void> {
    if (!(error instanceof Refused) || ![400, 403, 409].includes(error.end.status ?? 0)) throw error;
    let refused = 0;
    for (const [i, command] of commands.entries()) {
      const alone = commands.length === 1 ? error : await this.events("?wait=0", "application/json", [withoutPresence(command)], signal).then(() => undefined, (reason) => reason as unknown);
      if (alone && !(alone instanceof Refused)) throw alone;
      const { end } = (alone ?? error) as Refused;
      if (!alone && (refused || i < commands.length - 1)) continue; // if all are taken one by one, the last is one too many
      refused += 1;
      const id = this.#ids.get(command.topic);
      const code = end.problem ?? "bad_request";
      this.#ids.delete(command.topic);
      this.tell(id === undefined ? { op: "unsubscribed", topic: command.topic, code } : { op: "error", id, code, message: end.reason, retry: false });
    }
    this.#plan();
  }

  /** Passes on what the server says, as if it had been said on a WebSocket. */
  protected tell(map: Wire): void {
    if (this.#over.signal.aborted) return;
    if (map.op === "subscribed") {
      const id = this.#ids.get(map.topic);
      if (id === undefined && map.recovered !== false) return; // it just goes on
      this.#ids.delete(map.topic);
      map = { ...map, id }; // the server has counted by itself
    }
    this.listener.map(map);
  }

  /** A request has failed: the reply to its command if it was one, or the end. */
  protected fail(error: unknown, id?: unknown): void {
    const end: End = error instanceof Refused ? error.end : { code: 1006, reason: String(error) };
    if (id !== undefined && end.problem && end.status !== 401) this.tell({ op: "error", id, code: end.problem, message: end.reason, retry: [429, 500, 503, 504].includes(end.status ?? 0), after_ms: end.after_ms || undefined });
    else this.#end(end.status === 404 || end.status === 405 ? { ...end, status: undefined, reconnect: "later", unfit: true } : end);
  }

  #end(end: End): void {
    if (this.#over.signal.aborted) return;
    this.close();
    this.listener.ended(end);
  }
}

/** A command for a poll, between two of which nobody is present. */
export function withoutPresence({ presence: _, ...command }: Wire): Wire {
  return command;
}
