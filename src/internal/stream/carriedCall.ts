import { Effect, type Fiber, type Scope } from "effect"
import * as E from "../../services/StreamError.ts"
import type { FrameBatch, Metadata, ServerCall, Status, WorkerCall } from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { first as firstOf } from "../wire/metadata.ts"
import { endOfReplies } from "../wire/pulledCall.ts"
import { deadlineOf, isMissedDeadline, missedFrom } from "./deadline.ts"
import { Onward } from "./onward.ts"
import { ReaderWatch } from "./readerWatch.ts"
import type { Watchdog, Watched } from "./watchdog.ts"

/** How long a carried call may do nothing, in milliseconds. */
export interface CarriedTimes {
  /** No frame in either direction: as long as a stream may take to its first token. */
  readonly idleMillis: number
  readonly slowReaderMillis: number
}

/** The time limits of a call that is only carried. */
export class CarriedLimits implements Watched {
  watchPlace = -1
  /** Its place among the calls that are carried. */
  place = -1
  readonly reader: ReaderWatch
  readonly deadlineAt: number
  lastFrameAt: number
  readonly #fiber: Fiber.Fiber<unknown, unknown>
  readonly #idleMillis: number

  constructor(call: ServerCall, times: CarriedTimes, now: number, fiber: Fiber.Fiber<unknown, unknown>) {
    this.reader = new ReaderWatch(call, times.slowReaderMillis)
    this.deadlineAt = deadlineOf(call)
    this.lastFrameAt = now
    this.#idleMillis = times.idleMillis
    this.#fiber = fiber
  }

  end(error: E.StreamError): void {
    E.interruptWith(this.#fiber, error)
  }

  dueAt(): number {
    return Math.min(this.deadlineAt, this.reader.dueAt ?? this.lastFrameAt + this.#idleMillis)
  }

  due(now: number): void {
    if (now >= this.deadlineAt) this.end(new E.DeadlineExceeded({ delivered: 0 }))
    else if (this.reader.dueAt === undefined) {
      this.end(new E.StreamIdle({ phase: "idle", idleSecs: this.#idleMillis / 1000, delivered: 0 }))
    } else if (!this.reader.stillReads(now)) this.end(new E.SlowReader({ delivered: 0 }))
  }
}

/** What a carried call is made of. */
export interface Carried {
  readonly call: ServerCall
  /** The batch that was pulled of its requests already. */
  readonly first: FrameBatch | undefined
  readonly metadata: Metadata
  readonly link: WorkerLink
  readonly limits: CarriedLimits
  readonly watchdog: Watchdog
}

/**
 * A call of a method that the sidecar gives no meaning: bytes both ways, headers, status and trailers unchanged, backpressure,
 * deadline and the time limits of streams kept. Nothing is held, replayed or counted. Gives the worker's last word.
 */
export const carry = (carried: Carried): Effect.Effect<Status, E.StreamError> => {
  const { call, limits, link, metadata, watchdog } = carried
  return Effect.scoped(Effect.suspend(() =>
    Effect.flatMap(
      link.open(new Onward(call, metadata, limits.deadlineAt, watchdog)),
      (worker) =>
        Effect.andThen(
          carryRequests(carried, worker),
          Effect.flatMap(worker.headers, (headers) => {
            if (headers !== undefined) call.sendHeaders(headers, firstOf(headers, "grpc-encoding"))
            return carryReplies(carried, worker)
          })
        )
    )
  ))
}

/** Nearly always all is there, and no fiber waits for more. */
const carryRequests = (
  { call, first, limits, watchdog }: Carried,
  worker: WorkerCall
): Effect.Effect<void, never, Scope.Scope> => {
  const room = first === undefined || worker.write(first)
  if (first === undefined || call.isHalfClosed) {
    worker.halfClose()
    return Effect.void
  }
  const rest: Effect.Effect<void> = Effect.suspend(() =>
    Effect.matchEffect(call.requests, {
      onSuccess: ([batch]) => {
        limits.lastFrameAt = watchdog.now()
        return worker.write(batch) ? rest : roomy
      },
      onFailure: () => Effect.sync(() => worker.halfClose())
    })
  )
  const roomy = Effect.andThen(Effect.suspend(() => worker.writable), rest)
  return Effect.asVoid(Effect.forkScoped(room ? rest : roomy, { startImmediately: true }))
}

const carryReplies = (
  { call, limits, watchdog }: Carried,
  worker: WorkerCall
): Effect.Effect<Status, E.StreamError> => {
  const { reader } = limits
  const read = Effect.map(Effect.suspend(() => call.writable), () => {
    limits.lastFrameAt = watchdog.now()
    if (reader.ready()) watchdog.nearer(limits.dueAt())
  })
  const next: Effect.Effect<Status, E.StreamError> = Effect.matchEffect(worker.replies, {
    onSuccess: ([batch]) => {
      const now = watchdog.now()
      limits.lastFrameAt = now
      const room = call.write(batch)
      if (reader.handed(batch.length, room, now)) watchdog.nearer(limits.dueAt())
      return room ? next : Effect.andThen(Effect.raceFirst(read, worker.over), next)
    },
    onFailure: (over) => {
      const end = endOfReplies(over)
      return watchdog.now() >= missedFrom(call) && isMissedDeadline(end)
        ? Effect.fail(new E.DeadlineExceeded({ delivered: 0 }))
        : Effect.succeed(end.status)
    }
  })
  return next
}
