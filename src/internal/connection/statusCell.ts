import { Clock, Effect, Fiber, PubSub, type Scope, type Stream, SubscriptionRef } from "effect"
import type { DownReason, WorkerState } from "../../services/WorkerConnection.ts"
import { monotonicMillis } from "../monotonic.ts"
import { sayChange } from "./connectionLog.ts"
import { Evidence, initial, next } from "./evidence.ts"

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
export interface StatusCell {
  readonly current: () => WorkerState
  readonly changes: Stream.Stream<WorkerState>
  readonly apply: (evidence: Evidence) => void
  /** How long it has been what it is. */
  readonly elapsedMillis: () => number
  /** Until a reloading worker means to be back, or the next dial; 0 when that time has passed, `undefined` when unknown. */
  readonly dueInMillis: () => number | undefined
  readonly subscribe: (listener: (state: WorkerState) => void) => () => void
}

/** The moments of the status by the monotonic clock: every duration is made of these. */
interface Timing {
  enteredAt: number
  dueAt: number | undefined
}

const dueOf = (state: WorkerState): number | undefined =>
  state._tag === "Reloading" ? state.until : state._tag === "Disconnected" ? state.retryAt : undefined

/** The duration that came with the evidence of a due time. */
const announcedBy = (evidence: Evidence): number | undefined => {
  switch (evidence._tag) {
    case "Answered":
    case "ReloadAnnounced":
      return evidence.etaMillis
    case "Planned":
      return evidence.delayMillis
    default:
      return undefined
  }
}

/** The cell, with the clock of a reload. Its fibers live in the scope. */
export const make = Effect.fnUntraced(
  function*(options: StatusOptions): Effect.fn.Return<StatusCell, never, Scope.Scope> {
    const clock = yield* Clock.Clock
    const wall = () => clock.currentTimeMillisUnsafe()
    const monotonic = monotonicMillis(clock)
    const timing: Timing = { enteredAt: monotonic(), dueAt: undefined }
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const track = Fiber.runIn(yield* Effect.scope)
    const listeners = new Set<(state: WorkerState) => void>()
    let situation = initial(wall())
    const cell = yield* SubscriptionRef.make(situation.state)
    let reloadClock: Fiber.Fiber<unknown> | undefined

    const apply = (evidence: Evidence): void => {
      const before = situation.state
      const isEarly = timing.dueAt !== undefined && monotonic() < timing.dueAt
      situation = next(situation, evidence, options.remedyOf, isEarly)
      const after = situation.state
      if (after === before) return
      if (after._tag !== before._tag || after.since !== before.since) timing.enteredAt = monotonic()
      if (dueOf(after) !== dueOf(before)) {
        const millis = dueOf(after) === undefined ? undefined : announcedBy(evidence)
        timing.dueAt = millis === undefined ? undefined : monotonic() + millis
      }
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
      const now = monotonic()
      if (after.restarting === true) {
        const over = Effect.sync(() => apply(Evidence.RestartTooLong({ at: wall() })))
        reloadClock = track(fork(Effect.andThen(Effect.sleep(options.maxRestartMillis), over)))
        return
      }
      const longest = Effect.andThen(
        Effect.sleep(Math.max(0, timing.enteredAt + options.maxReloadMillis - now)),
        Effect.sync(() => {
          const detail = `the worker has been reloading for ${options.maxReloadMillis / 1000}s`
          apply(Evidence.ReloadTooLong({ at: wall(), detail }))
        })
      )
      const expected = timing.dueAt === undefined
        ? Effect.void
        : Effect.andThen(Effect.sleep(Math.max(0, timing.dueAt - now)), Effect.sync(options.onExpectedBack))
      reloadClock = track(fork(Effect.all([longest, expected], { concurrency: "unbounded", discard: true })))
    }

    return {
      current: () => situation.state,
      changes: SubscriptionRef.changes(cell),
      apply,
      elapsedMillis: () => monotonic() - timing.enteredAt,
      dueInMillis: () => timing.dueAt === undefined ? undefined : Math.max(0, timing.dueAt - monotonic()),
      subscribe: (listener) => {
        listeners.add(listener)
        return () => {
          listeners.delete(listener)
        }
      }
    }
  }
)
