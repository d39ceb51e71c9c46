/** The binary as a child process on a port of its own. `TOPICHUB_BIN` says where it is. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** How long anything may take before a story has failed. Nothing waits this long when all is well. */
export const DEADLINE_MS = 10_000;

/** A running server: `host`, its address and port, and `stop`, which also tells whether it was sound. */
export class Server {
  #process;
  /** @type {string[]} */
  #log = [];
  #ended;

  /** @param {import("node:child_process").ChildProcess} child */
  constructor(child) {
    this.#process = child;
    this.#ended = once(child, "exit");
    this.host = "";
  }

  /** @param {string[]} [more] further words for the command line */
  static async start(more = []) {
    const binary = process.env.TOPICHUB_BIN;
    if (!binary) throw new Error("TOPICHUB_BIN must say where the server is");
    const child = spawn(binary, ["serve", "--listen", "127.0.0.1:0", ...more], {
      env: { ...process.env, RUST_LOG: "info" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const server = new Server(child);
    server.host = await server.#address();
    return server;
  }

  /** @returns {Promise<string>} */
  #address() {
    const stderr = /** @type {import("node:stream").Readable} */ (this.#process.stderr);
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no address was named:\n${this.#log.join("\n")}`)), DEADLINE_MS);
      createInterface(stderr)
        .on("line", (line) => {
          this.#log.push(line);
          const found = /\b127\.0\.0\.1:\d+\b/.exec(line);
          if (found) {
            clearTimeout(late);
            resolve(found[0]);
          }
        })
        .on("close", () => reject(new Error(`the server has ended:\n${this.#log.join("\n")}`)));
    });
  }

  async stop() {
    const alive = this.#process.exitCode === null;
    this.#process.kill("SIGTERM");
    const late = setTimeout(() => this.#process.kill("SIGKILL"), DEADLINE_MS);
    await this.#ended;
    clearTimeout(late);
    const log = this.#log.join("\n");
    if (!alive || log.includes("panicked")) throw new Error(`the server was not sound:\n${log}`);
  }
}
