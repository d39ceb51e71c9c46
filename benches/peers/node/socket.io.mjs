/** A broadcast server on Socket.IO: what a client publishes goes to all. `node socket.io.mjs PORT` */

import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
  // No ping falls into a measurement.
  pingInterval: 3_600_000,
});

io.on("connection", (socket) => {
  socket.on("publish", (message) => io.emit("message", message));
});

http.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
