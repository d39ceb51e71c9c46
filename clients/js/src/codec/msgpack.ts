/** MessagePack, by `@msgpack/msgpack`. */

import { decode, encode } from "@msgpack/msgpack";
import type { Codec } from "../wire.js";

/**
 * MessagePack in place of JSON: shorter, and bytes and times within the data stay what they are.
 *
 *     import { connect } from "@topichub/client";
 *     import { msgpack } from "@topichub/client/msgpack";
 *     const hub = connect(url, { codec: msgpack });
 */
export const msgpack: Codec = {
  subprotocol: "pubsub.msgpack",
  encode: (map) => encode(map, { ignoreUndefined: true }),
  decode: (frame) => decode(frame as ArrayBuffer),
};
