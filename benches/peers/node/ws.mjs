/** A broadcast server on `ws`, as its documentation does it: what a client sends goes to all. `node ws.mjs PORT` */

import { WebSocket, WebSocketServer } from "ws";

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 4096,
  clientTracking: true,
  perMessageDeflate: false,
});

server.on("connection", (socket) => {
  socket.on("error", console.error);
  socket.on("message", (message, isBinary) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(message, { binary: isBinary });
    }
  });
});
