/** A proxy that a test can cut, to see how a client comes back. */

import { connect, createServer } from "node:net";
import { once } from "node:events";

export class Cut {
  #server;
  #pairs = new Set();
  /** Whether newcomers are let through. */
  up = true;
  connections = 0;

  static async before(host) {
    const cut = new Cut();
    const [address, port] = host.split(":");
    cut.#server = createServer((near) => {
      cut.connections += 1;
      if (!cut.up) return near.destroy();
      const far = connect(Number(port), address);
      const pair = { near, far };
      cut.#pairs.add(pair);
      const end = () => {
        near.destroy();
        far.destroy();
        cut.#pairs.delete(pair);
      };
      for (const [from, to] of [[near, far], [far, near]]) {
        from.on("data", (chunk) => to.write(chunk));
        from.on("close", end);
        from.on("error", end);
      }
    }).listen(0, "127.0.0.1");
    await once(cut.#server, "listening");
    cut.host = `127.0.0.1:${cut.#server.address().port}`;
    return cut;
  }

  /** Ends all connections, as a network does: without a word. */
  now() {
    for (const { near, far } of [...this.#pairs]) {
      near.resetAndDestroy();
      far.destroy();
    }
  }

  stop() {
    this.now();
    this.#server.close();
  }
}
