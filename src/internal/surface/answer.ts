import { Effect } from "effect"
import * as Status from "../../services/Status.ts"
import type { ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"

/** Hears of the end of a call that the sidecar answered by itself. */
export type Handled = (method: string, code: number) => void

/** Milliseconds as a limit of time, or none: no deadline, or one that is not a number. */
const limitOf = (call: ServerCall): number | undefined =>
  call.timeoutMillis === undefined || !Number.isFinite(call.timeoutMillis) ? undefined : call.timeoutMillis

/** `effect` within the caller's deadline; after it DEADLINE_EXCEEDED. */
export const withinDeadline = <A>(
  call: ServerCall,
  effect: Effect.Effect<A, GrpcStatus>
): Effect.Effect<A, GrpcStatus> => {
  const limit = limitOf(call)
  if (limit === undefined) return effect
  return Effect.timeoutOrElse(effect, {
    duration: limit,
    orElse: () => Effect.fail(Status.make(Status.Code.DEADLINE_EXCEEDED, "Deadline exceeded"))
  })
}

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
    }),
    Effect.onInterrupt(() => Effect.sync(() => handled(call.path, Status.Code.CANCELLED)))
  )
