/** What can go wrong, as types. The `code` is for programs, the `message` for people, and says what to do. */

import type { Wire } from "./wire.js";

/** The ancestor of all errors of this package. */
export class HubError extends Error {
  /** A word for programs: one of the server's error codes, or one of this package's own. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
    this.name = "HubError";
  }
}

/** The server has refused a command, or has ended a subscription. The connection lives. */
export class CommandError extends HubError {
  /** Whether the same command, unchanged, may succeed later. */
  readonly retry: boolean;
  /** How many milliseconds to wait before that, if the server has said so. */
  readonly after_ms: number | undefined;

  /** @internal As the server says it. */
  constructor({ code, message, retry = false, after_ms }: Wire) {
    super(code, message);
    this.retry = retry;
    this.after_ms = after_ms;
  }
}

/** Code `connection_lost`: the connection went before the reply came, so nobody knows whether the command was carried out. */
export class ConnectionLost extends HubError {}

/**
 * Code `closed`, or the code of the problem that the server has named (`unauthorized`, `forbidden`): the hub has no connection
 * and does not come back. Make a new one when the cause has been removed.
 */
export class ClosedError extends HubError {
  /** The close code, 1006 if there was none. */
  readonly close_code: number;
  /** What the server said. */
  readonly reason: string;
  /** The HTTP status by which the connection was refused, if it was. */
  readonly status: number | undefined;

  constructor(close_code: number, reason: string, code = "closed", status?: number) {
    super(code, `closed: ${close_code} ${reason}`);
    this.close_code = close_code;
    this.reason = reason;
    this.status = status;
  }
}

/** Code `not_connected`: there is no connection, and the publish was not to be queued. Code `queue_full`: it was, and the queue is full. */
export class OfflineError extends HubError {}

/** Code `buffer_overflow`: who iterates did not keep up, and `overflow` is `"error"`. */
export class BufferOverflow extends HubError {}
