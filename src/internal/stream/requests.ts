import { Effect, type Scope } from "effect"
import * as E from "../../services/StreamError.ts"
import type { FrameBatch } from "../../services/Wire.ts"
import { identityOf } from "./requestIdentity.ts"
import type { StreamUnderWay } from "./streamUnderWay.ts"

/**
 * Leads a stream's requests into its log, from where they go to whichever worker it is sent to. `first`: what was pulled of
 * them already. Nearly always that is all, and no fiber waits for more.
 */
export const takeRequests = (
  stream: StreamUnderWay,
  first: FrameBatch | undefined
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.suspend(() => {
    if (first !== undefined) take(stream, first)
    if (first !== undefined && !stream.call.isHalfClosed) {
      return Effect.asVoid(Effect.forkScoped(takeRest(stream), { startImmediately: true }))
    }
    stream.log.halfClose(stream.attempt?.worker)
    return Effect.void
  })

const takeRest = (stream: StreamUnderWay): Effect.Effect<void> => {
  const next: Effect.Effect<void> = Effect.suspend(() =>
    stream.log.room ? pull : Effect.andThen(untilRoom(stream), pull)
  )
  const pull: Effect.Effect<void> = Effect.matchEffect(stream.call.requests, {
    onSuccess: ([batch]) => {
      take(stream, batch)
      return next
    },
    onFailure: () => Effect.sync(() => stream.log.halfClose(stream.attempt?.worker))
  })
  return next
}

/** The worker takes no more, or there is none that could. */
const untilRoom = (stream: StreamUnderWay): Effect.Effect<void> =>
  Effect.suspend(() => {
    const before = stream.attempt
    const wait = before === undefined ? stream.awaitAttempt() : before.worker.writable
    return Effect.andThen(wait, Effect.suspend(() => stream.attempt === before ? Effect.void : again(stream)))
  })

const again = (stream: StreamUnderWay): Effect.Effect<void> => stream.log.room ? Effect.void : untilRoom(stream)

const take = (stream: StreamUnderWay, batch: FrameBatch): void => {
  const { env, held, limits, log, tally } = stream
  tally.identity ??= identityOf(batch)
  const before = log.bytes
  log.push(batch, stream.attempt?.worker)
  if (limits.phase === "held" && held !== undefined) {
    const grown = log.bytes - before
    if (env.room.grow(grown)) held.heldBytes += grown
    else limits.end(new E.HoldFull({ retryAfterMillis: stream.retryAfterMillis }))
  } else if (limits.phase === "queued" && stream.keepsTooMuch) {
    limits.end(new E.QueueFull({ retryAfterMillis: stream.retryAfterMillis }))
  }
}
