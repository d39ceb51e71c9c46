/** Server-Sent Events (WHATWG HTML §9.2), read by `fetch`, because an EventSource cannot post what it wants and shows no status. */

import type { Wire } from "../wire.js";
import { FIRST_MS, HttpLink, Refused } from "./http.js";
import type { Transport } from "./transport.js";

class EventsLink extends HttpLink {
  protected override async listen(commands: Wire[], signal: AbortSignal): Promise<void> {
    const { clock } = this.address;
    const late = clock.set(() => this.fail(new Refused({ code: 1006, reason: `no event within ${FIRST_MS} ms: something on the way keeps them back`, unfit: true })), FIRST_MS);
    try {
      const response = await this.events("", "text/event-stream", commands, signal);
      if (!response.headers.get("content-type")?.startsWith("text/event-stream")) throw new Refused({ code: 1006, reason: "what came is no stream of events", unfit: true });
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      const decoder = new TextDecoder();
      let rest = "";
      let data = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (signal.aborted) return;
        if (done) throw new Refused({ code: 1006, reason: "the stream has ended" });
        clock.clear(late);
        this.listener.heard();
        const lines = (rest + decoder.decode(value, { stream: true })).split(/\r?\n/);
        rest = lines.pop() as string;
        for (const line of lines) {
          if (line.startsWith("data:")) data += line.slice(line[5] === " " ? 6 : 5) + "\n";
          else if (line === "" && data) {
            const map = JSON.parse(data) as Wire;
            data = "";
            this.tell(map);
            if (signal.aborted) return;
          }
        }
      }
    } finally {
      clock.clear(late);
    }
  }
}

/** Events by a stream, commands by requests. */
export const events: Transport = { name: "events", dial: (address, listener) => new EventsLink(address, listener) };
