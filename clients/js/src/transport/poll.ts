/** Long poll: a request waits for what comes, and then there is the next. For networks that let nothing else through. */

import type { Wire } from "../wire.js";
import { HttpLink, Refused, withoutPresence } from "./http.js";
import type { Transport } from "./transport.js";

const WAIT_S = 20;
const PAUSE_MS = 1000; // after an answer that should have waited and has not

class PollLink extends HttpLink {
  protected override async listen(commands: Wire[], signal: AbortSignal): Promise<void> {
    const { clock } = this.address;
    for (;;) {
      const begun = clock.now();
      const waits = !this.isAwaited; // the reply to a subscription comes at once
      const response = await this.events(`?wait=${waits ? WAIT_S : 0}`, "application/json", commands.map(withoutPresence), signal);
      const maps = (await response.json().catch(() => undefined)) as Wire[] | undefined;
      if (signal.aborted) return;
      if (!Array.isArray(maps)) throw new Refused({ code: 1006, reason: "what came is no answer to a poll", unfit: true });
      this.listener.heard();
      for (const map of maps) {
        this.tell(map);
        if (signal.aborted) return;
      }
      if (maps.some(({ op }) => op === "goodbye")) throw new Refused({ code: 1006, reason: "the server has said goodbye" });
      if (waits && !maps.some(({ op }) => op === "message" || op === "gap") && clock.now() - begun < PAUSE_MS) await new Promise<void>((resolve) => clock.set(resolve, PAUSE_MS));
      if (signal.aborted) return;
      commands = this.listener.resume();
    }
  }
}

/** Events by polls, commands by requests. */
export const poll: Transport = { name: "poll", dial: (address, listener) => new PollLink(address, listener) };
