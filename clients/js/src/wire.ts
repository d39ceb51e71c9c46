/** What goes over the wire: maps with the same keys in every codec (SPEC §4 to §6). */

/** A command, reply or push, as it was read: nobody has looked into it yet. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the wire can hold anything
export type Wire = Record<string, any>;

/** The index of a message in its topic, and which incarnation of the topic's log that is. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** How maps are written. `@topichub/client/msgpack` has another than JSON. */
export interface Codec {
  /** The WebSocket subprotocol that means it. */
  readonly subprotocol: string;
  /** Writes a map: text, or bytes. */
  encode(map: Wire): string | Uint8Array<ArrayBuffer>;
  /** Reads what a WebSocket brought; throws if that is nothing of this codec. */
  decode(frame: unknown): unknown;
}
