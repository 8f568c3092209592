import { Deferred, Effect } from "effect"
import type { LimitTeller } from "../../services/Limits.ts"
import * as E from "../../services/StreamError.ts"
import type { ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
import { type Entrant, FairBound } from "../stream/fairBound.ts"
import { statusOf } from "../wire/streamStatus.ts"

/** Times in milliseconds. */
export interface OwnCallsOptions {
  /** `[server] max_own_calls`. */
  readonly limit: number
  /** `[server] first_message_timeout_secs`. */
  readonly requestMillis: number
  /** `[server] slow_reader_timeout_secs`. */
  readonly readerMillis: number
  readonly limits: LimitTeller
  /** Tells how many there are, whenever that changes. */
  readonly onSize: (size: number) => void
}

/** The bounds of the calls that the sidecar answers itself, all of them together. */
export interface OwnCalls {
  /** `effect` as one of them; ends RESOURCE_EXHAUSTED when it has to make room for others. */
  readonly counted: <A>(call: ServerCall, effect: Effect.Effect<A, GrpcStatus>) => Effect.Effect<A, GrpcStatus>
  /** Waits for a request no longer than one may take. */
  readonly inTime: <A>(request: Effect.Effect<A, GrpcStatus>) => Effect.Effect<A, GrpcStatus>
  /** Waits for a caller that does not read no longer than one may be slow. */
  readonly whileRead: <A>(drained: Effect.Effect<A, GrpcStatus>) => Effect.Effect<A, GrpcStatus>
}

export const make = (options: OwnCallsOptions): OwnCalls => {
  const { limits, onSize } = options
  const bound = new FairBound(() => options.limit, onSize)
  const within =
    (duration: () => number, error: () => E.StreamError) =>
    <A>(effect: Effect.Effect<A, GrpcStatus>): Effect.Effect<A, GrpcStatus> =>
      Effect.suspend(() =>
        Effect.timeoutOrElse(effect, { duration: duration(), orElse: () => Effect.fail(statusOf(error())) })
      )
  return {
    counted: (call, effect) =>
      Effect.suspend(() => {
        const evicted = Deferred.makeUnsafe<never, GrpcStatus>()
        const entrant: Entrant = {
          peer: call.peer.address,
          evict: () => {
            const { limit } = options
            limits.reached("own_calls", () =>
              `${limit} calls to the sidecar's own methods are open ([server] max_own_calls): the oldest ones end, now ` +
              `one of ${call.peer.address}`)
            Deferred.doneUnsafe(evicted, Effect.fail(statusOf(new E.TooManyCalls({ kind: "own", limit }))))
          }
        }
        const seat = bound.enter(entrant)
        return Effect.ensuring(
          Effect.raceFirst(effect, Deferred.await(evicted)),
          Effect.sync(() =>
            bound.leave(seat)
          )
        )
      }),
    inTime: within(() => options.requestMillis, () => new E.RequestTimeout({ secs: options.requestMillis / 1000 })),
    whileRead: within(() => options.readerMillis, () => new E.SlowReader({ delivered: 0 }))
  }
}
