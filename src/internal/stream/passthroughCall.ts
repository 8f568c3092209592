import * as E from "../../services/StreamError.ts"
import type { Departure, FrameBatch, Metadata, ServerCall, Status, WorkerCall } from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { first } from "../wire/metadata.ts"
import { statusOf } from "../wire/streamStatus.ts"
import { deadlineOf, departed, isMissedDeadline, missedFrom } from "./deadline.ts"
import type { FirstMessage } from "./firstMessage.ts"
import { ReaderWatch } from "./readerWatch.ts"
import type { Watchdog, Watched } from "./watchdog.ts"

/** How long such a call may do nothing, in milliseconds. */
export interface PassthroughLimits {
  /** No frame in either direction: as long as a stream may take to its first token. */
  readonly idleMillis: number
  readonly slowReaderMillis: number
}

/**
 * A call of a method that the sidecar gives no meaning: bytes both ways, headers, status and trailers unchanged,
 * backpressure, deadline and the time limits of streams kept. Nothing is held, replayed or counted.
 */
export class PassthroughCall implements Watched {
  watchPlace = -1
  readonly #call: ServerCall
  readonly #watchdog: Watchdog
  readonly #deadlineAt: number
  readonly #idleMillis: number
  readonly #reader: ReaderWatch
  readonly #onSettled: (status: Status) => void
  #worker: WorkerCall | undefined
  #over = false
  #lastFrameAt = 0

  /** `onSettled` is called once, with the status that the gateway was given. */
  constructor(call: ServerCall, limits: PassthroughLimits, watchdog: Watchdog, onSettled: (status: Status) => void) {
    this.#call = call
    this.#watchdog = watchdog
    this.#idleMillis = limits.idleMillis
    this.#reader = new ReaderWatch(call, limits.slowReaderMillis)
    this.#onSettled = onSettled
    this.#deadlineAt = deadlineOf(call)
  }

  /** Opens the call at the worker and lets the bytes flow. `requests`: the call, whose first message is there. */
  begin(requests: FirstMessage, link: WorkerLink, metadata: Metadata): void {
    const call = this.#call
    const now = this.#watchdog.now()
    this.#lastFrameAt = now
    this.#watchdog.add(this)
    const worker = link.open({
      path: call.path,
      metadata,
      timeoutMillis: this.#deadlineAt === Number.POSITIVE_INFINITY ? undefined : Math.max(1, this.#deadlineAt - now),
      encoding: call.encoding
    }, {
      onHeaders: (metadata) => call.sendHeaders(metadata, first(metadata, "grpc-encoding")),
      onFrames: (batch) => this.#onReply(batch),
      onEnd: (end) => {
        if (this.#watchdog.now() >= missedFrom(this.#call) && isMissedDeadline(end)) this.#miss()
        else this.settle(end.status)
      },
      onDrain: () => requests.resume()
    })
    if (this.#over) return
    this.#worker = worker
    requests.handOver({
      onFrames: (batch) => {
        this.#lastFrameAt = this.#watchdog.now()
        return worker.write(batch)
      },
      onHalfClose: () => worker.halfClose(),
      onDrain: () => {
        this.#lastFrameAt = this.#watchdog.now()
        this.#reader.ready()
        worker.resume()
      },
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
    return Math.min(this.#deadlineAt, this.#reader.dueAt ?? this.#lastFrameAt + this.#idleMillis)
  }

  due(now: number): void {
    if (now >= this.#deadlineAt) this.#miss()
    else if (this.#reader.dueAt === undefined) {
      this.fail(new E.StreamIdle({ phase: "idle", idleSecs: this.#idleMillis / 1000, delivered: 0 }))
    } else if (!this.#reader.stillReads(now)) this.fail(new E.SlowReader({ delivered: 0 }), "now")
  }

  #miss(): void {
    this.fail(new E.DeadlineExceeded({ delivered: 0 }), "now")
  }

  #onReply(batch: FrameBatch): boolean {
    const now = this.#watchdog.now()
    this.#lastFrameAt = now
    const room = this.#call.write(batch)
    if (this.#reader.handed(batch.length, room, now)) this.#watchdog.nearer(this.dueAt())
    return room
  }
}
