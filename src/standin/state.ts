import { Effect, FiberHandle, Latch, PubSub, type Scope, Semaphore } from "effect"
import { monotonicNow } from "../internal/monotonic.ts"
import type { StandInEvent, StandInOptions } from "./StandInWorker.ts"

/** What the calls of one stand-in worker share. */
export interface StandInState {
  readonly options: StandInOptions
  readonly events: PubSub.PubSub<StandInEvent>
  readonly figures: { inflight: number; success: number; failed: number }
  /** Models that were asked for and not unloaded since. */
  readonly loaded: Set<string>
  /** Waits for a place in the thread pool, and keeps it while the effect runs. */
  readonly withPlace: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Completes when no reload is under way. */
  readonly awaitReady: Effect.Effect<void>
  readonly reload: (seconds: number) => Effect.Effect<void>
  /** Seconds that the reload under way still takes; `undefined` when there is none. */
  readonly reloadSecondsLeft: Effect.Effect<number | undefined>
}

export const make = (options: StandInOptions): Effect.Effect<StandInState, never, Scope.Scope> =>
  Effect.gen(function*() {
    const events = yield* PubSub.unbounded<StandInEvent>()
    const ready = yield* Latch.make(true)
    const reloading = yield* FiberHandle.make<void>()
    const places = options.threads === undefined ? undefined : yield* Semaphore.make(options.threads)
    const clock = { reloadEndsAt: 0 }

    const reload = (seconds: number) =>
      Effect.gen(function*() {
        clock.reloadEndsAt = (yield* monotonicNow) + seconds * 1000
        yield* ready.close
        yield* PubSub.publish(events, { _tag: "Reloading", seconds })
        yield* FiberHandle.run(
          reloading,
          Effect.sleep(seconds * 1000).pipe(
            Effect.andThen(ready.open),
            Effect.andThen(PubSub.publish(events, { _tag: "Ready" })),
            Effect.asVoid
          ),
          { startImmediately: true }
        )
      })

    if (options.reloadSeconds !== undefined && options.reloadSeconds > 0) yield* reload(options.reloadSeconds)

    return {
      options,
      events,
      figures: { inflight: 0, success: 0, failed: 0 },
      loaded: new Set(options.models),
      withPlace: (effect) => places === undefined ? effect : places.withPermits(1)(effect),
      awaitReady: ready.await,
      reload,
      reloadSecondsLeft: Effect.map(
        monotonicNow,
        (now) => ready.isOpen() ? undefined : Math.max(0, (clock.reloadEndsAt - now) / 1000)
      )
    }
  })
