import { Effect } from "effect"
import type { CallMetrics } from "../../services/CallMetrics.ts"
import type { CallHandler } from "../../services/GrpcServer.ts"
import * as E from "../../services/StreamError.ts"
import type { FrameBatch, ServerCall, Status } from "../../services/Wire.ts"
import type { WorkerConnection } from "../../services/WorkerConnection.ts"
import { Roster } from "../roster.ts"
import { pass } from "../wire/metadata.ts"
import { statusOf } from "../wire/streamStatus.ts"
import type { Arrivals } from "./arrivals.ts"
import { CarriedLimits, type CarriedTimes, carry } from "./carriedCall.ts"
import { atDeadline } from "./deadline.ts"
import type { Unadmitted } from "./unadmitted.ts"
import type { Watchdog } from "./watchdog.ts"
import { workerUnavailable } from "./workerUnavailable.ts"

/** What carried calls stand on. */
export interface PassthroughOptions {
  readonly arrivals: Arrivals
  readonly calls: CallMetrics["Service"]
  readonly connection: WorkerConnection["Service"]
  readonly draining: () => boolean
  /** As many calls of other methods as streams. */
  readonly limit: () => number
  readonly times: CarriedTimes
  readonly tooLarge: (call: ServerCall, metadataBytes: number) => E.StreamError | undefined
  readonly unadmitted: Unadmitted
  readonly watchdog: Watchdog
  /** The first one comes, the last one has gone. */
  readonly onBusy: (busy: boolean) => void
}

/** The handler of every method that the sidecar gives no meaning. */
export interface Passthrough {
  readonly handler: CallHandler
  /** Calls that are carried now. */
  readonly size: () => number
  /** Ends all of them. */
  readonly endAll: (error: () => E.StreamError) => void
}

interface Arrived {
  readonly first: FrameBatch | undefined
}

/** The gateway may have stopped to read. */
const isAtOnce = ({ _tag }: E.StreamError): boolean =>
  _tag === "DeadlineExceeded" || _tag === "SlowReader" || _tag === "Draining"

export const passthrough = (options: PassthroughOptions): Passthrough => {
  const { arrivals, calls, connection, limit, unadmitted, watchdog } = options
  const carried = new Roster<CarriedLimits>()
  /** Calls that wait while the worker's connection is renewed: for one dial and one proof at most. */
  let renewing = 0

  const resized = (): void => calls.openCalls("carried", carried.size)

  const tooMany = (): E.TooManyStreams | undefined =>
    carried.size + renewing >= limit() ? new E.TooManyStreams({ limit: limit() }) : undefined

  const refusal = (call: ServerCall, metadataBytes: number): E.StreamError | undefined =>
    (options.draining() ? new E.Draining({ delivered: 0 }) : undefined) ?? tooMany() ??
      options.tooLarge(call, metadataBytes) ??
      (connection.link() === undefined ? workerUnavailable(connection) : undefined)

  const renewed = Effect.callback<void>((resume) => {
    renewing++
    const off = connection.onChange(() => {
      off()
      resume(Effect.void)
    })
    return Effect.sync(off)
  }).pipe(Effect.onExit(() => Effect.sync(() => void renewing--)))

  const end = (call: ServerCall, limits: CarriedLimits, status: Status, delivery: "flush" | "now"): void => {
    watchdog.remove(limits)
    call.end(status, delivery)
    carried.remove(limits.place, limits)
    resized()
    calls.handled(call.path, status.code)
    options.onBusy(carried.size > 0)
  }

  const relay = (
    call: ServerCall,
    first: FrameBatch | undefined,
    restore: <A, Err>(effect: Effect.Effect<A, Err>) => Effect.Effect<A, Err>
  ): Effect.Effect<void> =>
    Effect.withFiber((fiber) => {
      const { bytes, metadata } = pass(call.metadata)
      const link = connection.link()
      const refused = refusal(call, bytes)
      if (refused !== undefined || link === undefined) {
        return Effect.sync(() => unadmitted.refuse(call, refused ?? workerUnavailable(connection)))
      }
      const limits = new CarriedLimits(call, options.times, watchdog.now(), fiber)
      limits.place = carried.add(limits)
      resized()
      options.onBusy(true)
      watchdog.add(limits)
      return Effect.matchCauseEffect(restore(carry({ call, first, limits, link, metadata, watchdog })), {
        onSuccess: (status) => Effect.sync(() => end(call, limits, status, "flush")),
        onFailure: (cause) =>
          Effect.sync(() => {
            const error = atDeadline(call, E.errorOf(cause) ?? gone, 0, watchdog.now())
            end(call, limits, statusOf(error), isAtOnce(error) ? "now" : "flush")
          })
      })
    })

  return {
    handler: (call) =>
      Effect.uninterruptibleMask((restore) => {
        const waits = connection.current()._tag === "Connected" && connection.link() === undefined
        const renewal = waits && tooMany() === undefined ? renewed : Effect.void
        const arrival = Effect.suspend((): Effect.Effect<Arrived | undefined, E.StreamError> => {
          const early = refusal(call, pass(call.metadata).bytes)
          return early === undefined
            ? Effect.map(arrivals.awaitFirst(call), (first) => ({ first }))
            : Effect.as(Effect.sync(() => unadmitted.refuse(call, early)), undefined)
        })
        return Effect.matchCauseEffect(restore(Effect.andThen(renewal, arrival)), {
          onSuccess: (arrived) => arrived === undefined ? Effect.void : relay(call, arrived.first, restore),
          onFailure: (cause) =>
            Effect.sync(() => {
              const error = atDeadline(call, E.errorOf(cause) ?? gone, 0, watchdog.now())
              if (error._tag === "Rejected") unadmitted.rejected(call, error.status)
              else unadmitted.refuse(call, error, "now")
            })
        })
      }),
    size: () => carried.size,
    endAll: (error) => {
      for (const limits of carried.all()) limits.end(error())
    }
  }
}

const gone = new E.GatewayGone({ departure: "cancelled" })
