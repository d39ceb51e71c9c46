/** A line to a SharedWorker, which has the one connection for all tabs (`worker.ts`) and says to each what a server would. */

import type { Wire } from "../wire.js";
import type { End, Transport } from "./transport.js";

/** What a tab says first. */
export interface Hello {
  op: "$hello";
  url: string;
  user: string | undefined;
  hasToken: boolean;
  /** Whether it can fetch another. */
  renews: boolean;
  /** A lock that the tab holds while it lives: who gets it knows that the tab is gone. */
  lock: string;
}

export function portTo(open: () => SharedWorker, hello: Omit<Hello, "op" | "lock" | "url">): Transport {
  return {
    name: "shared-worker",
    dial({ ws }, listener) {
      const worker = open();
      const { port } = worker;
      const lock = `topichub-${crypto.randomUUID()}`;
      let release = () => {};
      let over = false;
      const close = () => {
        over = true;
        release();
        port.postMessage({ op: "$bye" });
        port.close();
      };
      const end = (end: End) => {
        if (over) return;
        close();
        listener.ended(end);
      };
      worker.onerror = () => end({ code: 1006, reason: "the shared worker cannot be loaded", unfit: true });
      port.onmessage = ({ data }: MessageEvent<Wire>) => (data.op === "$end" ? end(data.end as End) : over || listener.map(data));
      navigator.locks
        .request(lock, () => {
          if (over) return undefined;
          port.postMessage({ op: "$hello", url: ws, lock, ...hello } satisfies Hello);
          return new Promise<void>((resolve) => (release = resolve));
        })
        .catch((error) => end({ code: 1006, reason: String(error), unfit: true }));
      return { beats: false, close, send: (map) => port.postMessage(map) };
    },
  };
}
