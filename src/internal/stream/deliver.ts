import { Effect, type Scope, Stream } from "effect"
import type { StreamError } from "../../services/StreamError.ts"
import type { OpeningBreaker } from "./openingBreaker.ts"
import { replies } from "./replies.ts"
import type { StreamUnderWay } from "./streamUnderWay.ts"

/**
 * Runs a stream's replies into its gateway's call. While the gateway takes no more nothing is pulled; when the worker has said
 * all, what waits is waited for, since a gateway that has stopped to read may still turn out not to take it.
 */
export const deliver = (
  stream: StreamUnderWay,
  breaker: OpeningBreaker | undefined
): Effect.Effect<void, StreamError, Scope.Scope> => {
  const { call, limits } = stream
  return Effect.andThen(
    Stream.runForEachArray(
      replies(stream, breaker),
      () => untilRead(stream)
    ),
    Effect.suspend(() => {
      if (limits.reader.dueAt === undefined) return Effect.void
      stream.givePlaceBack()
      return call.writable
    })
  )
}

/** Waits for the gateway; no longer than until its worker's side is over, so that this is known when it happens. */
const untilRead = (stream: StreamUnderWay): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { attempt, call, delivery } = stream
    const read = Effect.map(call.writable, () => delivery.read())
    return attempt === undefined || stream.rest !== undefined ? read : Effect.raceFirst(read, attempt.worker.over)
  })
