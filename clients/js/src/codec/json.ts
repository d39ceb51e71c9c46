/** JSON text, by the runtime's own `JSON`. Bytes are base64 under `data_base64` (SPEC §10). */

import type { Codec, Wire } from "../wire.js";

/** The default codec. */
export const json: Codec = {
  subprotocol: "pubsub.json",
  encode: (map) => JSON.stringify(withBase64(map)),
  decode: (frame) => JSON.parse(frame as string),
};

/** The map with bytes under `data` as base64 text. */
export function withBase64(map: Wire): Wire {
  const { data } = map;
  return data instanceof Uint8Array ? { ...map, data: undefined, data_base64: btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join("")) } : map;
}

/** The bytes of base64 text. */
export const bytesOf = (base64: string): Uint8Array => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
