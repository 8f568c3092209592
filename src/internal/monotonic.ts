import type { Clock } from "effect"

/** Monotonic milliseconds, with fractions, of a clock: what durations, deadlines and idle times are measured with. */
export const monotonicMillis = (clock: Clock.Clock): () => number => () =>
  Number(clock.monotonicTimeNanosUnsafe()) / 1e6
