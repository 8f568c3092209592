import { Effect } from "effect"
import * as E from "../../services/StreamError.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { holdPatience } from "./holdPatience.ts"
import type { Queued } from "./placeQueue.ts"
import type { StreamUnderWay } from "./streamUnderWay.ts"
import { workerUnavailable } from "./workerUnavailable.ts"

/** A worker, and a place at it: held while there is none, queued while all places are taken. */
export const seek = (stream: StreamUnderWay): Effect.Effect<WorkerLink, E.StreamError> =>
  Effect.suspend(() => {
    const { env, limits } = stream
    const link = env.connection.link()
    if (link === undefined) {
      const patience = holdPatience(stream.wasSent, env)
      return patience > 0
        ? Effect.andThen(hold(stream, patience), seek(stream))
        : Effect.fail(workerUnavailable(env.connection))
    }
    // Nobody overtakes those that wait.
    if (env.room.keepsOrder && !limits.hasWaited) return Effect.andThen(hold(stream, env.holdMillis), seek(stream))
    return stream.takePlace() ? Effect.succeed(link) : Effect.andThen(queue(stream), seek(stream))
  })

/** Waits until a worker is there; who waits leaves the room when it is interrupted, whoever interrupts it. */
export const hold = (
  stream: StreamUnderWay,
  patienceMillis: number,
  release: "at once" | "after a pause" = "at once",
  full: () => E.StreamError = () => new E.HoldFull({ retryAfterMillis: stream.retryAfterMillis })
): Effect.Effect<void, E.StreamError> =>
  Effect.callback((resume) => {
    const { env, limits, log } = stream
    limits.wait("held", patienceMillis)
    stream.span.event("held")
    const waiting = {
      heldBytes: log.bytes,
      release: () => {
        limits.waited()
        resume(Effect.void)
      }
    }
    if ((release === "at once" && stream.keepsTooMuch) || !env.room.enter(waiting, release)) {
      limits.waited()
      return resume(Effect.fail(full()))
    }
    stream.held = waiting
    if (release === "at once") stream.notice(patienceMillis)
    // Behind it come those that wait for its place.
    stream.givePlaceBack()
    return Effect.sync(() => {
      env.room.leave(waiting)
      limits.waited()
    })
  })

/** Waits for a place at the worker. */
const queue = (stream: StreamUnderWay): Effect.Effect<void, E.StreamError> =>
  Effect.callback((resume) => {
    const { env, limits } = stream
    limits.wait("queued", env.queueMillis)
    stream.span.event("queued")
    const queued: Queued = {
      seat: undefined,
      priority: stream.tally.identity?.priority ?? 0,
      tenant: stream.tenant,
      admitted: () => {
        stream.hasPlace()
        limits.waited()
        resume(Effect.void)
      }
    }
    if (stream.keepsTooMuch || !env.places.enter(queued)) {
      limits.waited()
      return resume(Effect.fail(new E.QueueFull({ retryAfterMillis: stream.retryAfterMillis })))
    }
    return Effect.sync(() => {
      env.places.leave(queued)
      limits.waited()
    })
  })
