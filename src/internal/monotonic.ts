import { Clock, Context, Effect } from "effect"
import { turnClock } from "./turnClock.ts"

// The global is an accessor, which costs each token that asks for the time.
const { performance } = globalThis

const isMachines = (clock: Clock.Clock): boolean => clock === Context.get(Context.empty(), Clock.Clock)

/**
 * Monotonic milliseconds, with fractions, of a clock: what durations, deadlines and idle times are measured with.
 *
 * Effect's own clock counts nanoseconds in a BigInt, which costs a batch of tokens a tenth of its time; where it is that
 * one, its source is read as the number that is wanted. Readings of one clock can be compared, those of two cannot.
 */
export const monotonicMillis = (clock: Clock.Clock): () => number =>
  isMachines(clock)
    ? () => performance.now()
    : () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/**
 * The same, read once a turn of the event loop where the clock is the machine's: a read of a socket may bring the tokens of
 * hundreds of streams, all of which came at one time.
 */
export const turnMillis = (clock: Clock.Clock): () => number => {
  const now = monotonicMillis(clock)
  return isMachines(clock) ? turnClock(now) : now
}

/** The same, now, of the current clock. */
export const monotonicNow: Effect.Effect<number> = Effect.map(Clock.Clock, (clock) => monotonicMillis(clock)())
