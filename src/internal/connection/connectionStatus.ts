import { Clock, Effect, Fiber, PubSub, type Scope, type Stream, SubscriptionRef } from "effect"
import type { DownReason, WorkerState } from "../../services/WorkerConnection.ts"
import { sayChange } from "./connectionLog.ts"
import { Evidence, initial, next } from "./connectionState.ts"

/** What the status needs to know. */
export interface StatusOptions {
  readonly remedyOf: (reason: DownReason) => string
  /** `[reload] max_reload_secs` in milliseconds. */
  readonly maxReloadMillis: number
  /** How long a worker that said goodbye is waited for, in milliseconds. */
  readonly maxRestartMillis: number
  /** The time at which the worker meant to be back has come. */
  readonly onExpectedBack: () => void
  /** Told first of each change. */
  readonly onChange: (state: WorkerState) => void
}

/** The one cell that holds the worker's status: changed only by `apply`, in the turn in which the evidence is seen. */
export interface ConnectionStatus {
  readonly current: () => WorkerState
  readonly changes: Stream.Stream<WorkerState>
  readonly apply: (evidence: Evidence) => void
  readonly subscribe: (listener: (state: WorkerState) => void) => () => void
}

/** The cell, with the clock of a reload. Its fibers live in the scope. */
export const make = Effect.fnUntraced(
  function*(options: StatusOptions): Effect.fn.Return<ConnectionStatus, never, Scope.Scope> {
    const clock = yield* Clock.Clock
    const wall = () => clock.currentTimeMillisUnsafe()
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const track = Fiber.runIn(yield* Effect.scope)
    const listeners = new Set<(state: WorkerState) => void>()
    let situation = initial(wall())
    const cell = yield* SubscriptionRef.make(situation.state)
    let reloadClock: Fiber.Fiber<unknown> | undefined

    const apply = (evidence: Evidence): void => {
      const before = situation.state
      situation = next(situation, evidence, options.remedyOf)
      const after = situation.state
      if (after === before) return
      // What `SubscriptionRef.set` does, without its semaphore: this is the only writer, and it must not wait.
      cell.value = after
      options.onChange(after)
      const saying = sayChange(before, after)
      if (saying !== undefined) {
        fork(saying.level === "Info" ? Effect.logInfo(saying.text) : Effect.logWarning(saying.text))
      }
      watchReload(before, after)
      for (const listener of listeners) listener(after)
      // Last: who waits for the change goes on within this call, and may change the status again.
      PubSub.publishUnsafe(cell.pubsub, after)
    }

    /** A reload has an expected end, at which the worker is asked, and a longest duration. */
    const watchReload = (before: WorkerState, after: WorkerState): void => {
      if (
        before._tag === "Reloading" && after._tag === "Reloading" && before.until === after.until &&
        before.restarting === after.restarting
      ) return
      reloadClock?.interruptUnsafe()
      reloadClock = undefined
      if (after._tag !== "Reloading") return
      const now = wall()
      if (after.restarting === true) {
        const over = Effect.sync(() => apply(Evidence.RestartTooLong({ at: wall() })))
        reloadClock = track(fork(Effect.andThen(Effect.sleep(options.maxRestartMillis), over)))
        return
      }
      const longest = Effect.andThen(
        Effect.sleep(Math.max(0, after.since + options.maxReloadMillis - now)),
        Effect.sync(() => {
          const detail = `the worker has been reloading for ${options.maxReloadMillis / 1000}s`
          apply(Evidence.ReloadTooLong({ at: wall(), detail }))
        })
      )
      const expected = after.until === undefined
        ? Effect.void
        : Effect.andThen(Effect.sleep(Math.max(0, after.until - now)), Effect.sync(options.onExpectedBack))
      reloadClock = track(fork(Effect.all([longest, expected], { concurrency: "unbounded", discard: true })))
    }

    return {
      current: () => situation.state,
      changes: SubscriptionRef.changes(cell),
      apply,
      subscribe: (listener) => {
        listeners.add(listener)
        return () => {
          listeners.delete(listener)
        }
      }
    }
  }
)
