/** A line over a WebSocket. */

import { CommandError } from "../errors.js";
import type { Wire } from "../wire.js";
import type { End, Transport } from "./transport.js";

/** Where programs may do more than pages: see `node.ts`. */
const onNode = Boolean((globalThis as { process?: { versions?: { node?: string } } }).process?.versions?.node);

export const websocket: Transport = {
  name: "websocket",
  async dial({ ws, codec, WebSocket: given }, listener) {
    let bytesMax = Infinity;
    let over = false;
    const end = (found: End, code = 1000) => {
      if (over) return;
      close(code);
      listener.ended(found);
    };
    const close = (code: number) => {
      over = true;
      socket.close(beats ? code : 1000); // browsers leave programs few codes
    };

    const socket = onNode ? await (await import("./node.js")).open(ws, codec.subprotocol, given, listener.heard, end) : new ((given as typeof WebSocket) ?? WebSocket)(ws, [codec.subprotocol]);
    const beats = "on" in socket; // it is that of the package ws
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (over) return;
      let map;
      try {
        map = codec.decode(data) as Wire;
        if (!map || typeof map !== "object" || Array.isArray(map)) throw map;
      } catch {
        return end({ code: 1006, reason: "not this protocol" }, 1002);
      }
      if (map.op === "welcome") bytesMax = map.limits?.message_bytes ?? bytesMax;
      listener.map(map);
    };
    socket.onclose = end;
    socket.onerror = () => {}; // a close follows

    return {
      beats,
      close,
      send(map) {
        const frame = codec.encode(map);
        if (frame.length * 3 > bytesMax && new Blob([frame]).size > bytesMax) throw new CommandError({ code: "too_large", message: `over ${bytesMax} bytes` });
        socket.send(frame);
      },
    };
  },
};
