/** Time and chance, which tests replace. */

export interface Clock {
  /** Milliseconds of a clock that never jumps. */
  now(): number;
  /** In [0, 1). */
  random(): number;
  set(act: () => void, ms: number): unknown;
  clear: (timer: unknown) => void;
}

export const clock: Clock = {
  now: () => performance.now(),
  random: Math.random,
  set: (act, ms) => setTimeout(act, ms),
  clear: (timer) => clearTimeout(timer as number),
};
