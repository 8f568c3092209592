import { Effect, type Scope, Stream } from "effect"
import type { StreamError } from "../../services/StreamError.ts"
import type { FrameBatch } from "../../services/Wire.ts"
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
      replies(stream, breaker, (batch) => hand(stream, batch)),
      () => untilRead(stream)
    ),
    Effect.suspend(() => {
      if (limits.reader.dueAt === undefined) return Effect.void
      stream.givePlaceBack()
      return call.writable
    })
  )
}

/** Counts a batch and writes it, in one step: what is counted is what was handed to the gateway's stream. */
const hand = ({ call, count, env, limits, log, span }: StreamUnderWay, batch: FrameBatch): boolean => {
  const at = limits.lastFrameAt
  if (count.add(batch, at)) {
    span.event("first_token")
    // From here on the stream is never sent again.
    log.forget()
    env.watchdog.nearer(limits.dueAt())
  }
  const room = call.write(batch)
  if (limits.reader.handed(batch.length, room, at)) env.watchdog.nearer(limits.dueAt())
  return room
}

/** Waits for the gateway; no longer than until its worker's side is over, so that this is known when it happens. */
const untilRead = (stream: StreamUnderWay): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { attempt, call, env, limits } = stream
    const read = Effect.map(call.writable, () => {
      // The worker was not asked for anything meanwhile.
      limits.lastFrameAt = env.watchdog.now()
      if (limits.reader.ready()) env.watchdog.nearer(limits.dueAt())
    })
    return attempt === undefined || stream.rest !== undefined ? read : Effect.raceFirst(read, attempt.worker.over)
  })
