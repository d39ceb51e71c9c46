/** A line over a WebSocket. */

import { CommandError } from "../errors.js";
import type { Wire } from "../wire.js";
import type { End, Transport } from "./transport.js";

/** Where programs may do more than pages: see `node.ts`. */
const isProgram = "process" in globalThis;

export const websocket: Transport = {
  name: "websocket",
  async dial(address, listener) {
    const { ws, codec, WebSocket: given } = address;
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

    const socket = isProgram ? await (await import("./node.js")).open(ws, codec.subprotocol, given, listener.heard, end) : new ((given as typeof WebSocket) ?? WebSocket)(ws, [codec.subprotocol]);
    const beats = "on" in socket; // it is that of the package ws
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (over) return;
      let map;
      try {
        map = codec.decode(data) as Wire;
        if (!map.op) throw map;
      } catch {
        return end({ reason: "not this protocol" }, 1002);
      }
      listener.map(map);
    };
    socket.onclose = ({ code, reason }) => end({ code, reason }); // the fields of the event are not its own
    socket.onerror = () => {}; // a close follows

    return {
      beats,
      close,
      send(map) {
        const frame = codec.encode(map);
        const { message_bytes: bytesMax = Infinity } = address;
        if (frame.length * 3 > bytesMax && new Blob([frame]).size > bytesMax) throw new CommandError({ code: "too_large", message: `over ${bytesMax} bytes` });
        socket.send(frame);
      },
    };
  },
};
