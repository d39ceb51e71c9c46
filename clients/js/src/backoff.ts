/** When to come back: it is told what happened, and says how long to wait. */

import type { Clock } from "./clock.js";

/** What a close says about coming back. */
export type Verdict = "never" | "later" | "now";

/** In TopicHub's close codes the hundred is the verdict; below 4000 it depends on who has made a mistake (SPEC §8). */
export function verdictOf(code: number): Verdict {
  if (code >= 4000 && code < 4300) return (["never", "later", "now"] as const)[Math.floor(code / 100) - 40] as Verdict;
  return [1000, 1002, 1003, 1007, 1008, 1009].includes(code) ? "never" : "later";
}

const NOW_MS = 300;
const STABLE_MS = 10_000;
const NOW_TIMES = 3;

/** Full jitter: a random time up to a bound that doubles with each attempt, so that clients that were cut together do not come back together. */
export class Backoff {
  #attempt = 0;
  #nows = 0;
  #openedAt = Infinity;

  constructor(
    private readonly clock: Clock,
    private readonly range: { base?: number; max?: number } = {},
  ) {}

  opened(): void {
    this.#openedAt = this.clock.now();
  }

  /** How many milliseconds until the next attempt, after a connection was lost or could not be made. */
  next(verdict: Verdict, afterMs = 0): number {
    const { base = 500, max = 30_000 } = this.range;
    if (this.clock.now() - this.#openedAt >= STABLE_MS) this.#attempt = this.#nows = 0;
    this.#openedAt = Infinity;
    return afterMs + this.clock.random() * (verdict === "now" && this.#nows++ < NOW_TIMES ? NOW_MS : Math.min(max, base * 2 ** this.#attempt++));
  }
}
