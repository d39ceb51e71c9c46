/**
 * A small hub on plain HTTP, with `/events` as SPEC §21 has it and whatever misbehaves on the way to it. For what a real server does not do:
 * killing WebSockets, keeping back streams, answering with other people's pages.
 */

import { once } from "node:events";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const EPOCH = "f4k3";

export class FakeHub {
  /** `kill`: upgrades are hung up on. `page`: answered 200 with HTML. `serve`: a WebSocket that says what `greets` says. */
  upgrades = "kill";
  /** `serve`, `buffer` (nothing ever comes), `page`, `missing` (404), or a status with a problem. */
  streams = "serve";
  polls = "serve";
  /** Everything but streams: `serve` or `page`. */
  rest = "serve";
  greets = (socket) => socket.send(JSON.stringify({ op: "welcome", session: "fake", protocol: 1, ping_ms: 25_000 }));
  token;
  forbidden = new Set();
  asked = [];
  /** Requests wait for this. */
  held;
  #logs = new Map();
  #listeners = new Set();

  static async start() {
    const fake = new FakeHub();
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => fake.protocol ?? [...offered][0] });
    fake.server = createServer((request, response) => {
      fake.#serve(request, response).catch((error) => response.destroy(error));
    });
    fake.server.on("upgrade", (request, socket, head) => {
      fake.asked.push("websocket");
      socket.on("error", () => {});
      if (fake.upgrades === "kill") socket.destroy();
      else if (fake.upgrades === "page") socket.end("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>");
      else sockets.handleUpgrade(request, socket, head, (ws) => fake.greets(ws));
    });
    fake.server.listen(0, "127.0.0.1");
    await once(fake.server, "listening");
    fake.host = `127.0.0.1:${fake.server.address().port}`;
    return fake;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  publish(topic, data) {
    const log = this.#logs.get(topic) ?? [];
    this.#logs.set(topic, log);
    const message = { op: "message", topic, offset: log.length + 1, ...(log.length === 0 && { epoch: EPOCH }), data };
    log.push(message);
    for (const listener of [...this.#listeners]) listener(message);
    return { topic, epoch: EPOCH, offset: message.offset, subscribers: this.#listeners.size };
  }

  /** Ends all streams without a word. */
  cut() {
    this.server.closeAllConnections();
  }

  async #serve(request, response) {
    const url = new URL(request.url, "http://fake");
    let body = "";
    for await (const chunk of request) body += chunk;
    const isStream = url.pathname === "/events";
    const polls = request.headers.accept === "application/json";
    const mode = isStream ? (polls ? this.polls : this.streams) : this.rest;
    this.asked.push(isStream ? (polls ? "poll" : "stream") : url.pathname);
    const problem = (status, code) => response.writeHead(status, { "content-type": "application/problem+json" }).end(JSON.stringify({ type: "about:blank", title: code, status, code, detail: `the fake says ${code}` }));
    await this.held;
    if (mode === "page") return response.writeHead(200, { "content-type": "text/html" }).end("<html>Please agree to our terms</html>");
    if (mode === "buffer") return response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    if (mode === "missing") return response.writeHead(404).end();
    if (url.pathname === "/healthz") return response.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end("ok\n");
    if (this.token && request.headers.authorization !== `Bearer ${this.token}`) return problem(401, "unauthorized");
    if (url.pathname === "/publish") return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(JSON.parse(body).map(({ topic, data }) => this.publish(topic, data))));
    if (!isStream) return problem(404, "bad_request");

    const commands = JSON.parse(body);
    for (const { topic } of commands) if (this.forbidden.has(topic)) return problem(403, "forbidden");
    const past = [];
    for (const { topic, replay } of commands) {
      const log = this.#logs.get(topic) ?? [];
      const from = replay?.after ? replay.after.offset : log.length - (replay?.last ?? 0);
      const messages = log.slice(Math.max(0, from));
      past.push({ op: "subscribed", topic, epoch: EPOCH, offset: log.length, ...(replay && { replayed: messages.length, recovered: true }) }, ...messages);
    }
    const topics = new Set(commands.map(({ topic }) => topic));
    const maps = [{ op: "welcome", session: "fake-stream", protocol: 1, ping_ms: 25_000 }, ...past];
    if (polls) {
      const answer = () => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(maps));
      if (maps.some(({ op }) => op === "message") || url.searchParams.get("wait") === "0") return answer();
      const listener = (message) => {
        if (!topics.has(message.topic)) return;
        this.#listeners.delete(listener);
        maps.push(message);
        answer();
      };
      this.#listeners.add(listener);
      response.on("close", () => this.#listeners.delete(listener));
      return undefined;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    const say = (map) => response.write(`${map.op === "message" ? "" : `event: ${map.op}\n`}data: ${JSON.stringify(map, null, 1).replaceAll("\n", "\ndata: ")}\n\n`);
    response.write("retry: 1000\n\n:\n\n");
    maps.forEach(say);
    const listener = (message) => topics.has(message.topic) && say(message);
    this.#listeners.add(listener);
    response.on("close", () => this.#listeners.delete(listener));
    return undefined;
  }
}
