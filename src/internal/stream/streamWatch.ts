import type { Fiber } from "effect"
import * as E from "../../services/StreamError.ts"
import type { UsageTally } from "../../services/UsageMeter.ts"
import type { ServerCall } from "../../services/Wire.ts"
import { deadlineOf } from "./deadline.ts"
import type { Delivery } from "./delivery.ts"
import { overdue } from "./overdue.ts"
import { ReaderWatch } from "./readerWatch.ts"
import type { StreamEnv } from "./streamEnv.ts"
import type { Watched } from "./watchdog.ts"

/** What a stream waits for: nothing yet, a worker, a place at it, its frames. */
export type Phase = "new" | "held" | "queued" | "open"

/**
 * The time limits of one stream: a few fields that a batch moves, no timer and no fiber. When one of them has passed, the
 * stream's fiber is interrupted with the reason.
 */
export class StreamWatch implements Watched {
  watchPlace = -1
  readonly reader: ReaderWatch
  readonly deadlineAt: number
  phase: Phase = "new"
  /** It has been held or queued: it is not sent to the back of the waiting room again. */
  hasWaited = false
  queuedMillis = 0
  readonly #fiber: Fiber.Fiber<unknown, unknown>
  readonly #tally: UsageTally
  readonly #env: StreamEnv
  readonly #delivery: Delivery
  #patienceAt = Number.POSITIVE_INFINITY
  #waitingSince = 0
  #openedAt = 0

  constructor(
    call: ServerCall,
    tally: UsageTally,
    env: StreamEnv,
    fiber: Fiber.Fiber<unknown, unknown>,
    delivery: Delivery
  ) {
    this.#delivery = delivery
    this.deadlineAt = deadlineOf(call)
    this.reader = new ReaderWatch(call, env.slowReaderMillis)
    this.#tally = tally
    this.#env = env
    this.#fiber = fiber
  }

  /** Ends the stream from outside. */
  end(error: E.StreamError): void {
    E.interruptWith(this.#fiber, error)
  }

  /** From now on it is held or queued, for so long at most. */
  wait(phase: "held" | "queued", patienceMillis: number): void {
    const now = this.#env.watchdog.now()
    this.phase = phase
    this.#waitingSince = now
    this.hasWaited = true
    this.#patienceAt = now + patienceMillis
    this.#env.watchdog.nearer(this.dueAt())
  }

  /** It is held or queued no more. */
  waited(): void {
    const { metrics, watchdog } = this.#env
    const millis = Math.round(watchdog.now() - this.#waitingSince)
    this.#tally.heldMillis += millis
    if (this.phase === "queued") this.queuedMillis += millis
    const observe = this.phase === "queued" ? metrics.queueTime : metrics.holdTime
    observe(millis / 1000, this.#delivery.traceId)
    this.phase = "new"
  }

  /** It is sent to the worker. */
  open(now: number): void {
    this.phase = "open"
    this.#openedAt = now
    this.#delivery.heardAt(now)
    this.#env.watchdog.nearer(this.dueAt())
  }

  dueAt(): number {
    switch (this.phase) {
      case "held":
      case "queued":
        return Math.min(this.deadlineAt, this.#patienceAt)
      case "open":
        return Math.min(this.deadlineAt, this.reader.dueAt ?? this.#idleAt())
      case "new":
        return this.deadlineAt
    }
  }

  due(now: number): void {
    const { phase } = this
    const delivered = this.#tally.chunks
    if (now >= this.deadlineAt) this.end(new E.DeadlineExceeded({ delivered }))
    else if (phase === "open" && this.reader.dueAt !== undefined) {
      if (!this.reader.stillReads(now)) this.end(new E.SlowReader({ delivered }))
    } else if (phase !== "new") {
      this.end(overdue({ phase, waitedMillis: now - this.#waitingSince, delivered }, this.#env))
    }
  }

  #idleAt(): number {
    const { firstTokenMillis, idleMillis } = this.#env
    return this.#tally.chunks === 0 ? this.#openedAt + firstTokenMillis : this.#delivery.lastFrameAt + idleMillis
  }
}
