import { Clock, Effect } from "effect"
import * as Status from "../../services/Status.ts"
import type { ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
import { monotonicMillis } from "../monotonic.ts"
import { deadlineOf, missedFrom } from "../stream/deadline.ts"

/** Hears of the end of a call that the sidecar answered by itself. */
export type Handled = (method: string, code: number) => void

/** `effect` within the caller's deadline; after it DEADLINE_EXCEEDED. */
export const withinDeadline = <A>(
  call: ServerCall,
  effect: Effect.Effect<A, GrpcStatus>
): Effect.Effect<A, GrpcStatus> => {
  const deadlineAt = deadlineOf(call)
  if (!Number.isFinite(deadlineAt)) return effect
  return Effect.clockWith((clock) =>
    Effect.timeoutOrElse(effect, {
      duration: Math.max(0, deadlineAt - monotonicMillis(clock)()),
      orElse: () =>
        Effect.fail(Status.make(Status.Code.DEADLINE_EXCEEDED, "Deadline exceeded", { "cy-reason": "deadline" }))
    })
  )
}

/** Counts a call whose gateway leaves while `effect` runs: by its deadline when its time is over, else as cancelled. */
export const countingDeparture = <A, E>(
  call: ServerCall,
  handled: Handled,
  effect: Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.onInterrupt(effect, () =>
    Effect.map(Clock.Clock, (clock) => {
      const missed = monotonicMillis(clock)() >= missedFrom(call)
      handled(call.path, missed ? Status.Code.DEADLINE_EXCEEDED : Status.Code.CANCELLED)
    }))

/**
 * Runs what answers a call and ends the call with the status that it gives or fails with: once, within the caller's
 * deadline, and INTERNAL for a defect (which is logged, never shown).
 */
export const answer = (
  call: ServerCall,
  handled: Handled,
  effect: Effect.Effect<GrpcStatus, GrpcStatus>
): Effect.Effect<void> =>
  withinDeadline(call, effect).pipe(
    (bounded) => countingDeparture(call, handled, bounded),
    Effect.catch((status) => Effect.succeed(status)),
    Effect.catchDefect((defect) =>
      Effect.as(
        Effect.logError(`${call.path} failed`, defect),
        Status.make(Status.Code.INTERNAL, "Internal error")
      )
    ),
    Effect.map((status) => {
      // A caller that lets a time limit pass may have stopped reading: what was written is given up.
      const late = status.code === Status.Code.DEADLINE_EXCEEDED || status.code === Status.Code.CANCELLED
      call.end(status, late ? "now" : "flush")
      handled(call.path, status.code)
    })
  )
