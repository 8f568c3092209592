import { Clock, Effect, Layer } from "effect"
import { monotonicMillis } from "../internal/monotonic.ts"
import { LimitMetrics } from "../services/LimitMetrics.ts"
import { type LimitName, Limits } from "../services/Limits.ts"

/** A bound that is reached a thousand times a second is one event to an operator. */
const QUIET_MILLIS = 60_000

/** Counts in `LimitMetrics` and logs. */
export const layer: Layer.Layer<never, never, LimitMetrics> = Layer.effect(
  Limits,
  Effect.gen(function*() {
    const metrics = yield* LimitMetrics
    const now = monotonicMillis(yield* Clock.Clock)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const said = new Map<LimitName, number>()
    return {
      reached: (limit, detail) => {
        metrics.limitReached(limit)
        const last = said.get(limit)
        if (last !== undefined && now() - last < QUIET_MILLIS) return
        said.set(limit, now())
        run(Effect.logWarning(detail()).pipe(Effect.annotateLogs({ limit })))
      }
    }
  })
)
