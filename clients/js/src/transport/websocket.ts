/** A line over a WebSocket: that of the platform, or of the package `ws` where there is none. */

import { CommandError } from "../errors.js";
import type { Wire } from "../wire.js";
import { problemOf } from "./problem.js";
import type { End, Link, Transport } from "./transport.js";

/** What `ws` has beyond the standard: a refused handshake can be looked at, and pings are heard. */
interface Emitter {
  on?(type: string, listener: (...values: never[]) => void): void;
}

interface Refusal {
  statusCode: number;
  headers: Record<string, string | undefined>;
  on(type: string, listener: (chunk?: unknown) => void): void;
}

export const websocket: Transport = {
  name: "websocket",
  async dial({ ws, codec, WebSocket: given }, listener): Promise<Link> {
    const [package_] = ["ws"] as const; // no literal, so that bundlers for browsers do not look for it
    const Socket = (given ?? globalThis.WebSocket ?? (await import(/* @vite-ignore */ /* webpackIgnore: true */ package_)).default) as typeof WebSocket;
    const socket = new Socket(ws, [codec.subprotocol]) as WebSocket & Emitter;
    socket.binaryType = "arraybuffer";
    let bytesMax = Infinity;
    let over = false;
    const end = (code: number, found: End) => {
      if (over) return;
      over = true;
      close(code);
      listener.ended(found);
    };
    const close = (code: number) => {
      over = true;
      try {
        socket.close(code);
      } catch {
        socket.close(); // browsers leave programs few codes
      }
    };

    socket.onmessage = ({ data }) => {
      if (over) return;
      let map;
      try {
        map = codec.decode(data) as Wire;
        if (map === null || typeof map !== "object" || Array.isArray(map)) throw map;
      } catch {
        return end(1002, { code: 1006, reason: "what came is not of this protocol" });
      }
      if (map.op === "welcome") bytesMax = map.limits?.message_bytes ?? bytesMax;
      listener.map(map);
    };
    socket.onclose = ({ code, reason }) => end(1000, { code, reason });
    socket.onerror = () => {}; // a close follows
    socket.on?.("ping", () => listener.heard());
    socket.on?.("unexpected-response", (request: { destroy(): void }, response: Refusal) => {
      const { statusCode: status, headers } = response;
      let body = "";
      const refused = () => {
        request.destroy();
        end(1000, { ...problemOf(status, body), after_ms: Number(headers["retry-after"]) * 1000 || 0 });
      };
      response.on("data", (chunk) => (body += chunk).length > 65_536 && refused());
      response.on("end", refused);
      response.on("error", refused);
    });

    return {
      beats: Boolean(socket.on),
      close,
      send(map) {
        const frame = codec.encode(map);
        const bytes = typeof frame !== "string" ? frame.length : frame.length * 3 > bytesMax ? new TextEncoder().encode(frame).length : 0;
        if (bytes > bytesMax) throw new CommandError("too_large", `a message of ${bytes} bytes is over the server's limit of ${bytesMax}`);
        socket.send(frame);
      },
    };
  },
};
