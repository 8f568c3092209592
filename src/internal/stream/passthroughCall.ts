import * as E from "../../services/StreamError.ts"
import type { Departure, Metadata, ServerCall, Status, WorkerCall } from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { first } from "../wire/metadata.ts"
import { deadlineOf, departed, isMissedDeadline, missedFrom } from "./deadline.ts"
import { statusOf } from "./streamStatus.ts"
import type { Watchdog, Watched } from "./watchdog.ts"

/**
 * A call of a method that the sidecar gives no meaning: bytes both ways, headers, status and trailers unchanged,
 * backpressure and deadline kept. Nothing is held, replayed or counted.
 */
export class PassthroughCall implements Watched {
  readonly #call: ServerCall
  readonly #watchdog: Watchdog
  readonly #deadlineAt: number
  readonly #onSettled: (status: Status) => void
  #worker: WorkerCall | undefined
  #over = false

  /** `onSettled` is called once, with the status that the gateway was given. */
  constructor(call: ServerCall, watchdog: Watchdog, onSettled: (status: Status) => void) {
    this.#call = call
    this.#watchdog = watchdog
    this.#onSettled = onSettled
    this.#deadlineAt = deadlineOf(call)
  }

  /** Opens the call at the worker and lets the bytes flow. */
  begin(link: WorkerLink, metadata: Metadata): void {
    const call = this.#call
    const now = this.#watchdog.now()
    this.#watchdog.add(this)
    const worker = link.open({
      path: call.path,
      metadata,
      timeoutMillis: this.#deadlineAt === Number.POSITIVE_INFINITY ? undefined : Math.max(1, this.#deadlineAt - now),
      encoding: call.encoding
    }, {
      onHeaders: (metadata) => call.sendHeaders(metadata, first(metadata, "grpc-encoding")),
      onFrames: (batch) => call.write(batch),
      onEnd: (end) => {
        if (this.#watchdog.now() >= missedFrom(this.#call) && isMissedDeadline(end)) this.due()
        else this.settle(end.status)
      },
      onDrain: () => call.resume()
    })
    if (this.#over) return
    this.#worker = worker
    call.start({
      onFrames: (batch) => worker.write(batch),
      onHalfClose: () => worker.halfClose(),
      onDrain: () => worker.resume(),
      onDeparture: (departure, answered) => {
        if (answered === undefined) this.depart(departure)
        else this.settle(answered)
      }
    })
  }

  /** The gateway is gone: it has cancelled, or its time is over. */
  depart(departure: Departure): void {
    this.fail(departed(this.#call, departure, this.#watchdog.now()))
  }

  fail(error: E.StreamError, delivery: "flush" | "now" = "flush"): void {
    this.settle(statusOf(error), delivery)
  }

  settle(status: Status, delivery: "flush" | "now" = "flush"): void {
    if (this.#over) return
    this.#over = true
    this.#watchdog.remove(this)
    this.#worker?.cancel()
    this.#call.end(status, delivery)
    this.#onSettled(status)
  }

  dueAt(): number {
    return this.#deadlineAt
  }

  due(): void {
    this.fail(new E.DeadlineExceeded({ delivered: 0 }), "now")
  }
}
