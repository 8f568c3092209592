import { Effect } from "effect"
import type { LimitTeller } from "../../services/Limits.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import * as E from "../../services/StreamError.ts"
import type { Departure, ServerCall, Status } from "../../services/Wire.ts"
import { deadlineOf, departed } from "./deadline.ts"
import { type Entrant, FairBound } from "./fairBound.ts"
import { FirstMessage, type FirstMessageListener } from "./firstMessage.ts"
import type { Watchdog, Watched } from "./watchdog.ts"

/** What became of a call that had to send a message first: it did (or half-closed), or it is over. */
export type Arrival =
  | { readonly _tag: "Arrived"; readonly requests: FirstMessage }
  /** To be told to the gateway. */
  | { readonly _tag: "Refused"; readonly error: E.StreamError }
  /** The server has answered it already (`Departure` "rejected"). */
  | { readonly _tag: "Rejected"; readonly status: Status }

export interface ArrivalsOptions {
  /** Calls at once, and how long each may take. */
  readonly settings: Pick<Settings["server"], "max_concurrent_streams" | "first_message_timeout_secs">
  readonly watchdog: Watchdog
  readonly limits: LimitTeller
  /** Tells how many there are, whenever that changes. */
  readonly onSize: (size: number) => void
}

/**
 * Calls that have not sent a whole message yet. They hold no place at the worker, no record and none of the streams in
 * flight: who opens streams and says nothing keeps nobody else out. They are bounded in number and in time.
 */
export class Arrivals {
  readonly options: ArrivalsOptions
  readonly #silent = new Set<Silent>()
  readonly #bound: FairBound

  constructor(options: ArrivalsOptions) {
    this.options = options
    this.#bound = new FairBound(() => options.settings.max_concurrent_streams, options.onSize)
  }

  /** Waits for the first message; attaches the call's listener. Interrupting it is the gateway's cancellation. */
  awaitFirst(call: ServerCall): Effect.Effect<Arrival> {
    return Effect.suspend(() => {
      const silent = new Silent(call, this)
      silent.requests.begin()
      // Nearly always: it has come in the same read of the socket.
      if (silent.arrival !== undefined) return Effect.succeed(silent.arrival)
      return Effect.callback<Arrival>((resume) => {
        silent.resume = resume
        this.#silent.add(silent)
        this.options.watchdog.add(silent)
        this.#bound.enter(silent)
        return Effect.sync(() => this.remove(silent))
      })
    })
  }

  /** Ends all of them. */
  refuseAll(error: () => E.StreamError): void {
    for (const silent of this.#silent) silent.refuse(error())
  }

  /** It waits no more. */
  remove(silent: Silent): void {
    if (!this.#silent.delete(silent)) return
    this.options.watchdog.remove(silent)
    this.#bound.leave(silent)
  }
}

/** A call that waits for its first message. */
class Silent implements Watched, Entrant, FirstMessageListener {
  watchPlace = -1
  readonly requests: FirstMessage
  arrival: Arrival | undefined
  resume: ((arrival: Effect.Effect<Arrival>) => void) | undefined
  readonly #call: ServerCall
  readonly #arrivals: Arrivals
  readonly #deadlineAt: number
  readonly #patienceAt: number

  constructor(call: ServerCall, arrivals: Arrivals) {
    const { settings, watchdog } = arrivals.options
    this.#call = call
    this.#arrivals = arrivals
    this.#deadlineAt = deadlineOf(call)
    this.#patienceAt = watchdog.now() + settings.first_message_timeout_secs * 1000
    this.requests = new FirstMessage(call, this)
  }

  get peer(): string {
    return this.#call.peer.address
  }

  refuse(error: E.StreamError): void {
    this.#decide({ _tag: "Refused", error })
  }

  evict(): void {
    const { limits, settings: { max_concurrent_streams: limit } } = this.#arrivals.options
    limits.reached(
      "silent_calls",
      () =>
        `${limit} calls have not sent a request yet ([server] max_concurrent_streams): the oldest ones end, now ` +
        `one of ${this.peer}`
    )
    this.refuse(new E.TooManyCalls({ kind: "silent", limit }))
  }

  dueAt(): number {
    return Math.min(this.#deadlineAt, this.#patienceAt)
  }

  due(now: number): void {
    if (now >= this.#deadlineAt) return this.refuse(new E.DeadlineExceeded({ delivered: 0 }))
    const { limits, settings: { first_message_timeout_secs: secs } } = this.#arrivals.options
    limits.reached(
      "first_message",
      () =>
        `${this.peer} opened a call and sent no whole message within ${secs}s ([server] ` +
        "first_message_timeout_secs): the call was ended"
    )
    this.refuse(new E.RequestTimeout({ secs }))
  }

  onFirst(): void {
    this.#decide({ _tag: "Arrived", requests: this.requests })
  }

  onDeparture(departure: Departure, answered?: Status): void {
    if (answered !== undefined) return this.#decide({ _tag: "Rejected", status: answered })
    this.refuse(departed(this.#call, departure, this.#arrivals.options.watchdog.now()))
  }

  #decide(made: Arrival): void {
    if (this.arrival !== undefined) return
    this.arrival = made
    this.#arrivals.remove(this)
    this.resume?.(Effect.succeed(made))
  }
}
