import { Effect, type Fiber } from "effect"
import type { LimitTeller } from "../../services/Limits.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import * as E from "../../services/StreamError.ts"
import type { Admit } from "../../services/StreamHooks.ts"
import type { FrameBatch, ServerCall } from "../../services/Wire.ts"
import type { Seat } from "../line.ts"
import { Roster } from "../roster.ts"
import { deadlineOf } from "./deadline.ts"
import { type Entrant, FairBound } from "./fairBound.ts"
import type { Watchdog, Watched } from "./watchdog.ts"

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
  readonly #silent = new Roster<Silent>()
  readonly #bound: FairBound

  constructor(options: ArrivalsOptions) {
    this.options = options
    this.#bound = new FairBound(() => options.settings.max_concurrent_streams, options.onSize)
  }

  /**
   * The first batch of a call's requests; `undefined`: it has half-closed without one. `admit` looks at it meanwhile. A call
   * that takes too long for both, or has to make room for others, is interrupted with the reason.
   */
  awaitFirst(call: ServerCall, admit?: Admit): Effect.Effect<FrameBatch | undefined, E.StreamError> {
    return Effect.suspend(() => {
      const first = Effect.match(call.requests, { onSuccess: ([batch]) => batch, onFailure: () => undefined })
      if (admit !== undefined) {
        return this.#whileSilent(
          call,
          Effect.flatMap(first, (batch) => batch === undefined ? first : Effect.as(admit(batch, call.encoding), batch))
        )
      }
      // Nearly always: it has come in the same read of the socket.
      return call.ready() ? first : this.#whileSilent(call, first)
    })
  }

  #whileSilent<A, E>(call: ServerCall, effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.withFiber((fiber) => {
      const silent = new Silent(call, fiber, this)
      silent.place = this.#silent.add(silent)
      this.options.watchdog.add(silent)
      silent.seat = this.#bound.enter(silent)
      return Effect.ensuring(effect, Effect.sync(() => this.remove(silent)))
    })
  }

  /** Ends all of them. */
  refuseAll(error: () => E.StreamError): void {
    for (const silent of this.#silent.all()) silent.refuse(error())
  }

  /** It waits no more. */
  remove(silent: Silent): void {
    if (!this.#silent.remove(silent.place, silent)) return
    this.options.watchdog.remove(silent)
    if (silent.seat !== undefined) this.#bound.leave(silent.seat)
  }
}

/** A call that waits for its first message. */
class Silent implements Watched, Entrant {
  watchPlace = -1
  /** Among the silent ones; theirs to write, as is its seat. */
  place = -1
  seat: Seat<Entrant> | undefined = undefined
  readonly #call: ServerCall
  readonly #fiber: Fiber.Fiber<unknown, unknown>
  readonly #arrivals: Arrivals
  readonly #deadlineAt: number
  readonly #patienceAt: number

  constructor(call: ServerCall, fiber: Fiber.Fiber<unknown, unknown>, arrivals: Arrivals) {
    const { settings, watchdog } = arrivals.options
    this.#call = call
    this.#fiber = fiber
    this.#arrivals = arrivals
    this.#deadlineAt = deadlineOf(call)
    this.#patienceAt = watchdog.now() + settings.first_message_timeout_secs * 1000
  }

  get peer(): string {
    return this.#call.peer.address
  }

  refuse(error: E.StreamError): void {
    E.interruptWith(this.#fiber, error)
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
}
