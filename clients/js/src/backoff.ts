/** When to come back: it is told what happened, and says how long to wait. */

import type { Clock } from "./clock.js";

/** What a close says about coming back. */
export type Verdict = "never" | "later" | "now";

/** In TopicHub's close codes the hundred is the verdict; below 4000 it depends on who has made a mistake (SPEC §8). */
export function verdictOf(code: number): Verdict {
  if (/^(40|100[023789])/.test(`${code}`)) return "never";
  return /^42/.test(`${code}`) ? "now" : "later";
}

const NOW_MS = 300;
const STABLE_MS = 10_000;
const NOW_TIMES = 3;

/** Full jitter: a random time up to a bound that doubles with each attempt, so that clients that were cut together do not come back together. */
export interface Backoff {
  opened(): void;
  /** How many milliseconds until the next attempt, after a connection was lost or could not be made. */
  next(verdict: Verdict, afterMs?: number): number;
}

export function backoff(clock: Clock, { base = 500, max = 30_000 }: { base?: number; max?: number } = {}): Backoff {
  let attempt = 0;
  let nows = 0;
  let openedAt = Infinity;
  return {
    opened: () => void (openedAt = clock.now()),
    next(verdict, afterMs = 0) {
      if (clock.now() - openedAt >= STABLE_MS) attempt = nows = 0;
      openedAt = Infinity;
      return afterMs + clock.random() * (verdict === "now" && nows++ < NOW_TIMES ? NOW_MS : Math.min(max, base * 2 ** attempt++));
    },
  };
}
