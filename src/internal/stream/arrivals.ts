import { Effect } from "effect"
import type { LimitTeller } from "../../services/Limits.ts"
import * as E from "../../services/StreamError.ts"
import type { ServerCall, Status } from "../../services/Wire.ts"
import { deadlineOf, departed } from "./deadline.ts"
import { type Entrant, FairBound } from "./fairBound.ts"
import { FirstMessage } from "./firstMessage.ts"
import type { Watchdog, Watched } from "./watchdog.ts"

/** What became of a call that had to send a message first: it did (or half-closed), or it is over. */
export type Arrival =
  | { readonly _tag: "Arrived"; readonly requests: FirstMessage }
  /** To be told to the gateway. */
  | { readonly _tag: "Refused"; readonly error: E.StreamError }
  /** The server has answered it already (`Departure` "rejected"). */
  | { readonly _tag: "Rejected"; readonly status: Status }

export interface ArrivalsOptions {
  /** Calls at once. */
  readonly limit: number
  /** `[server] first_message_timeout_secs` in milliseconds. */
  readonly patienceMillis: number
  readonly watchdog: Watchdog
  readonly limits: LimitTeller
  /** Tells how many there are, whenever that changes. */
  readonly onSize: (size: number) => void
}

/** A call that waits for its first message. */
interface Silent extends Watched, Entrant {
  readonly refuse: (error: E.StreamError) => void
}

/**
 * Calls that have not sent a whole message yet. They hold no place at the worker, no record and none of the streams in
 * flight: who opens streams and says nothing keeps nobody else out. They are bounded in number and in time.
 */
export class Arrivals {
  readonly #options: ArrivalsOptions
  readonly #silent = new Set<Silent>()
  readonly #bound: FairBound

  constructor(options: ArrivalsOptions) {
    this.#options = options
    this.#bound = new FairBound(options.limit, options.onSize)
  }

  /** Waits for the first message; attaches the call's listener. Interrupting it is the gateway's cancellation. */
  awaitFirst(call: ServerCall): Effect.Effect<Arrival> {
    return Effect.callback<Arrival>((resume) => {
      const { limit, limits, patienceMillis, watchdog } = this.#options
      let arrival: Arrival | undefined
      const decide = (made: Arrival): void => {
        if (arrival !== undefined) return
        arrival = made
        this.#remove(silent)
        resume(Effect.succeed(made))
      }
      const refuse = (error: E.StreamError): void => decide({ _tag: "Refused", error })
      const deadlineAt = deadlineOf(call)
      const patienceAt = watchdog.now() + patienceMillis
      const silent: Silent = {
        peer: call.peer.address,
        evict: () => {
          limits.reached(
            "silent_calls",
            () =>
              `${limit} calls have not sent a request yet ([server] max_concurrent_streams): the oldest ones end, now ` +
              `one of ${call.peer.address}`
          )
          refuse(new E.TooManyCalls({ kind: "silent", limit }))
        },
        refuse,
        dueAt: () => Math.min(deadlineAt, patienceAt),
        due: (now) => {
          if (now >= deadlineAt) return refuse(new E.DeadlineExceeded({ delivered: 0 }))
          const secs = patienceMillis / 1000
          limits.reached(
            "first_message",
            () =>
              `${call.peer.address} opened a call and sent no whole message within ${secs}s ([server] ` +
              "first_message_timeout_secs): the call was ended"
          )
          refuse(new E.RequestTimeout({ secs }))
        }
      }
      const requests = new FirstMessage(call, {
        onFirst: () => decide({ _tag: "Arrived", requests }),
        onDeparture: (departure, answered) =>
          answered === undefined
            ? refuse(departed(call, departure, watchdog.now()))
            : decide({ _tag: "Rejected", status: answered })
      })
      requests.begin()
      // Nearly always it is under way, in the same read of the socket.
      if (arrival === undefined) this.#add(silent)
      return Effect.sync(() => this.#remove(silent))
    })
  }

  /** Ends all of them. */
  refuseAll(error: () => E.StreamError): void {
    for (const silent of this.#silent) silent.refuse(error())
  }

  #add(silent: Silent): void {
    this.#silent.add(silent)
    this.#options.watchdog.add(silent)
    this.#bound.enter(silent)
  }

  #remove(silent: Silent): void {
    if (!this.#silent.delete(silent)) return
    this.#options.watchdog.remove(silent)
    this.#bound.leave(silent)
  }
}
