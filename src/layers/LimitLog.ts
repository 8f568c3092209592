import { Clock, Effect, Layer } from "effect"
import { monotonicMillis } from "../internal/monotonic.ts"
import { LimitMetrics } from "../services/LimitMetrics.ts"
import { type LimitName, Limits } from "../services/Limits.ts"
import { eventTeller, SidecarEvent } from "../services/SidecarEvents.ts"

/** A bound that is reached a thousand times a second is one event to an operator. */
const QUIET_MILLIS = 60_000

/** Counts in `LimitMetrics`, logs, and tells of it as an event. */
export const layer: Layer.Layer<never, never, LimitMetrics> = Layer.effect(
  Limits,
  Effect.gen(function*() {
    const metrics = yield* LimitMetrics
    const now = monotonicMillis(yield* Clock.Clock)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const tell = yield* eventTeller
    const said = new Map<LimitName, { at: number; untold: number }>()
    return {
      reached: (limit, detail) => {
        metrics.limitReached(limit)
        const last = said.get(limit)
        if (last !== undefined && now() - last.at < QUIET_MILLIS) {
          last.untold++
          return
        }
        said.set(limit, { at: now(), untold: 0 })
        const text = detail()
        run(Effect.logWarning(text).pipe(Effect.annotateLogs({ limit })))
        tell(SidecarEvent.LimitReached({ limit, detail: text, times: 1 + (last?.untold ?? 0) }))
      }
    }
  })
)
