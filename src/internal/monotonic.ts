import { Clock, Effect } from "effect"

/** Monotonic milliseconds, with fractions, of a clock: what durations, deadlines and idle times are measured with. */
export const monotonicMillis = (clock: Clock.Clock): () => number => () =>
  Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** The same, now, of the current clock. */
export const monotonicNow: Effect.Effect<number> = Effect.map(Clock.Clock, (clock) => monotonicMillis(clock)())
