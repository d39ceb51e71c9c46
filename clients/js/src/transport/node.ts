/** WebSockets by the package `ws`, where there is one. Unlike the platform's own, it tells why a handshake was refused, and lets pings be heard. */

import { problemOf } from "./problem.js";
import type { End } from "./transport.js";

interface Refusal {
  statusCode: number;
  headers: Record<string, string | undefined>;
  on(type: string, listener: (chunk: string) => void): void;
}

interface Emitter {
  on?(type: string, listener: (...values: never[]) => void): void;
}

const BODY_MAX = 65_536;

/** Opens a WebSocket of the class given, of `ws`, or of the platform. */
export async function open(url: string, subprotocol: string, given: unknown, heard: () => void, end: (end: End) => void): Promise<WebSocket> {
  const [package_] = ["ws"] as const; // no literal, so that bundlers for browsers do not look for it
  const found = given ?? (await import(/* @vite-ignore */ /* webpackIgnore: true */ package_).then((ws) => ws.default, () => globalThis.WebSocket));
  if (!found) throw new Error("there is no WebSocket here: install the package ws");
  const socket = new (found as typeof WebSocket)(url, [subprotocol]) as WebSocket & Emitter;
  socket.on?.("ping", heard);
  socket.on?.("unexpected-response", (request: { destroy(): void }, response: Refusal) => {
    const { statusCode: status, headers } = response;
    let body = "";
    const refused = () => {
      request.destroy();
      end({ ...problemOf(status, body), after_ms: Number(headers["retry-after"]) * 1000 || 0 });
    };
    response.on("data", (chunk) => (body += chunk).length > BODY_MAX && refused());
    response.on("end", refused);
    response.on("error", refused);
  });
  return socket;
}
