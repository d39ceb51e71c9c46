/**
 * One connection for all tabs of a page.
 *
 * @packageDocumentation
 */

import { connect, type AnyTopics, type ConnectOptions, type Hub } from "./index.js";
import { portTo } from "./transport/port.js";

/** As for `connect`; `codec`, `backoff`, `WebSocket` and `fetch` are those of the worker, or of the tab where there is none. */
export interface SharedOptions extends ConnectOptions {
  /** Makes the worker, where the one beside this module cannot be loaded from: it is to import `@topichub/client/worker`. */
  worker?: () => SharedWorker;
}

/**
 * Connects by way of a SharedWorker, with the others of the same URL and user: the server sees one session for all tabs. Where there are no
 * shared workers, or this one cannot be loaded, the tab has a connection of its own. A tab that subscribes to what another has already gets the last value of each topic.
 */
export function connectShared<Topics extends object = AnyTopics>(url: string | URL, options: SharedOptions = {}): Hub<Topics> {
  const { worker, transports = ["websocket", "events", "poll"], ...rest } = options;
  if (typeof SharedWorker === "undefined" || !globalThis.navigator?.locks) return connect(url, options);
  const name = `topichub ${new URL(url, location.href)} ${options.user ?? ""}`;
  const open = worker ?? (() => new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name }));
  return connect(url, { ...rest, transports: [portTo(open, { user: options.user, hasToken: options.token !== undefined, renews: typeof options.token === "function" }), ...transports] });
}
