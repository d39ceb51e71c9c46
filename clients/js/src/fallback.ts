/** The ways beside the WebSocket, loaded when they are needed. */

export { Ladder } from "./transport/ladder.js";
