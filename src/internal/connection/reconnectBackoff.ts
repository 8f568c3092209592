import { Cause, Clock, Duration, Effect, Pull, Schedule } from "effect"
import type { Settings } from "../../services/SidecarConfig.ts"
import { monotonicMillis } from "../monotonic.ts"

/**
 * When to dial again (docs/design.md §4), as one Schedule of two phases.
 *
 * First `max_reconnect_attempts` tries: from `reconnect_delay_secs` with ±20 % jitter, doubling up to the pace of the
 * second phase. Then one each `check_interval_secs`, for ever. With `max_reconnect_attempts = 0` the first phase never
 * ends.
 */
export const schedule = (health: Settings["health"]): Schedule.Schedule<unknown> => {
  const pace = Duration.seconds(health.check_interval_secs)
  const delay = Duration.seconds(health.reconnect_delay_secs)
  const first = Schedule.min([
    Schedule.exponential(delay).pipe(Schedule.jittered),
    Schedule.spaced(Duration.max(pace, delay))
  ])
  return health.max_reconnect_attempts === 0
    ? first
    : Schedule.concat(first.pipe(Schedule.upTo({ times: health.max_reconnect_attempts })), Schedule.spaced(pace))
}

/** The schedule as something that is asked for the next delay and can begin anew. */
export interface Backoff {
  /** Milliseconds until the next attempt. */
  readonly next: Effect.Effect<number>
  readonly reset: Effect.Effect<void>
}

/** A {@link Backoff} over {@link schedule}. */
export const make = Effect.fnUntraced(function*(health: Settings["health"]) {
  const plan = schedule(health)
  let step = yield* Schedule.toStep(plan)
  const backoff: Backoff = {
    next: Effect.gen(function*() {
      const now = monotonicMillis(yield* Clock.Clock)()
      const [, delay] = yield* Pull.catchDone(step(now, undefined), () => Effect.die(new Cause.NoSuchElementError()))
      return Math.round(Duration.toMillis(delay))
    }),
    reset: Effect.map(Schedule.toStep(plan), (fresh) => {
      step = fresh
    })
  }
  return backoff
})
