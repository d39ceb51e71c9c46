/**
 * MessagePack as a codec for `connect`. `@msgpack/msgpack` is built in: nothing else is to be installed.
 *
 * @packageDocumentation
 */

export { msgpack } from "./codec/msgpack.js";
export type { Codec, Wire } from "./wire.js";
