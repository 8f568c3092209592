import type { RunningStream } from "../../services/RunningStream.ts"
import * as Status from "../../services/Status.ts"
import * as E from "../../services/StreamError.ts"
import type { StreamSpan } from "../../services/StreamTracer.ts"
import type { UsageTally } from "../../services/UsageMeter.ts"
import type { Outcome } from "../../services/UsageRecord.ts"
import type {
  CallEnd,
  Departure,
  FrameBatch,
  Metadata,
  ReplyListener,
  RequestListener,
  ServerCall,
  Status as GrpcStatus,
  WorkerCall
} from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { first } from "../wire/metadata.ts"
import { outcomeOf, statusOf } from "../wire/streamStatus.ts"
import { deadlineOf, isMissedDeadline, missedFrom } from "./deadline.ts"
import { isDismissal, workerLost } from "./dismissal.ts"
import type { FirstMessage } from "./firstMessage.ts"
import { sendNotice } from "./holdNotice.ts"
import { holdPatience } from "./holdPatience.ts"
import { overdue } from "./overdue.ts"
import type { Queued } from "./placeQueue.ts"
import { ReaderWatch } from "./readerWatch.ts"
import { ReplayedFrames } from "./replayedFrames.ts"
import { ReplyCount } from "./replyCount.ts"
import { identityOf } from "./requestIdentity.ts"
import { RequestLog } from "./requestLog.ts"
import { openFor } from "./singleFrames.ts"
import type { Opening, StreamEnd, StreamEnv } from "./streamEnv.ts"
import type { Waiting } from "./waitingRoom.ts"
import type { Watched } from "./watchdog.ts"
import { workerUnavailable } from "./workerUnavailable.ts"

type Phase = "new" | "held" | "queued" | "open" | "over"

/** A worker that refuses a stream unseen is asked again this often, each time after the waiting room's pause. */
const MAX_REFUSALS = 10

/**
 * One StreamPredict call on its way: held, queued, open at the worker, over. Everything here happens synchronously on the
 * event loop; a steady flow of batches wakes no fiber. The fiber that owns the stream (`layers/ReplayingProxy`) starts it,
 * waits for its end and finishes it.
 */
export class ProxiedStream implements Watched, Waiting, Queued {
  watchPlace = -1
  readonly tally: UsageTally
  readonly call: ServerCall
  readonly #env: StreamEnv
  readonly #span: StreamSpan
  readonly #metadata: Metadata
  readonly #log: RequestLog
  readonly #count: ReplyCount
  readonly #reader: ReaderWatch
  readonly #deadlineAt: number
  readonly #missedFrom: number
  readonly #requests: RequestListener
  readonly #replies: ReplyListener
  /** The call's requests, once it has begun. */
  #source: FirstMessage | undefined
  #phase: Phase = "new"
  #worker: WorkerCall | undefined
  #link: WorkerLink | undefined
  #place = false
  /** Until when it may be held or queued. */
  #patienceAt = Number.POSITIVE_INFINITY
  #waitingSince = 0
  /** It has been held or queued: it is not sent to the back of the waiting room again. */
  #hasWaited = false
  #admittedAt = 0
  #openedAt = 0
  #lastFrameAt = 0
  /** The worker has answered this attempt with a frame. */
  #opened = false
  #refusals = 0
  priority = 0
  queuedMillis = 0
  #answered = false
  #noticed = false
  #rewriting: ReplayedFrames | undefined
  /** How it completes once the gateway has taken what waits. */
  #leaving: GrpcStatus | undefined
  #end: StreamEnd | undefined
  #observer: ((opening: Opening) => void) | undefined
  #onSettled: (() => void) | undefined
  heldBytes = 0
  /** Milliseconds between the first message and the worker that are not waiting: what the sidecar adds at the start. */
  #admissionMillis = 0

  /** `metadata`: what may pass to the worker. */
  constructor(call: ServerCall, metadata: Metadata, tally: UsageTally, span: StreamSpan, env: StreamEnv) {
    this.call = call
    this.#span = span
    this.#env = env
    this.#metadata = metadata
    this.tally = tally
    this.#log = new RequestLog(env.replayMaxBytes, env.requestBytes)
    this.#count = new ReplyCount(tally, env.metrics, env.peek, call.arrivedAt, span.traceId)
    this.#reader = new ReaderWatch(call, env.slowReaderMillis)
    this.#deadlineAt = deadlineOf(call)
    this.#missedFrom = missedFrom(call)
    this.#requests = {
      onFrames: (batch) => this.#onRequest(batch),
      onHalfClose: () => this.#log.halfClose(this.#worker),
      onDrain: () => this.#onGatewayReady(),
      onDeparture: (departure, answered) => this.depart(departure, answered)
    }
    this.#replies = {
      onHeaders: (metadata) => this.#onHeaders(metadata),
      onFrames: (batch) => this.#onReply(batch),
      onEnd: (end) => this.#onWorkerEnd(end),
      onDrain: () => this.#source?.resume()
    }
  }

  /**
   * Starts; `onSettled` is called once, when it is decided how the stream ends. `requests`: the call, of which the first
   * message (or the half-close) is there.
   */
  begin(requests: FirstMessage, onSettled: () => void): void {
    this.#onSettled = onSettled
    const { watchdog } = this.#env
    this.#admittedAt = watchdog.now()
    watchdog.add(this)
    this.#source = requests
    requests.handOver(this.#requests)
    if (this.#phase !== "new") return
    if (this.#deadlineAt <= watchdog.now()) this.due(watchdog.now())
    else this.#seek()
  }

  /** Tells how the first opening went to `observer` instead of to the circuit breaker's record. */
  observeOpening(observer: (opening: Opening) => void): void {
    this.#observer = observer
  }

  /** How it ended, once settled. */
  get end(): StreamEnd | undefined {
    return this.#end
  }

  /** Token chunks that were handed to the gateway. */
  get delivered(): number {
    return this.tally.chunks
  }

  get state(): RunningStream["state"] {
    return this.#phase === "held" || this.#phase === "queued" ? this.#phase : "at the worker"
  }

  /** Ends the stream for a reason of the sidecar's own. */
  fail(error: E.StreamError, delivery: "flush" | "now" = "flush"): void {
    this.#decide(statusOf(error), outcomeOf(error), delivery)
  }

  /**
   * The gateway is gone. After the `end_of_stream` frame that is no failure: many gateways stop reading there. When its
   * time is over it is the deadline: gRPC libraries cancel then, and are seldom later than our own clock.
   */
  depart(departure: Departure, answered?: GrpcStatus): void {
    if (this.#phase === "over") return
    const { metrics, watchdog } = this.#env
    const [at, isAtWorker] = [watchdog.now(), this.#worker !== undefined]
    if (departure === "vanished" && !this.tally.ended) metrics.gatewaySendError()
    if (this.tally.ended) this.#complete(Status.ok)
    else if (answered !== undefined) this.#decide(answered, "failed")
    else if (at >= this.#missedFrom) this.#miss()
    else {
      this.fail(new E.GatewayGone({ departure }))
      if (isAtWorker) metrics.cancelPropagated((watchdog.now() - at) / 1000)
    }
  }

  dueAt(): number {
    switch (this.#phase) {
      case "held":
      case "queued":
        return Math.min(this.#deadlineAt, this.#patienceAt)
      case "open":
        return Math.min(this.#deadlineAt, this.#reader.dueAt ?? this.#idleAt())
      default:
        return this.#deadlineAt
    }
  }

  due(now: number): void {
    const phase = this.#phase
    if (now >= this.#deadlineAt) this.#miss()
    else if (phase === "open" && this.#reader.dueAt !== undefined) {
      if (!this.#reader.stillReads(now)) this.fail(new E.SlowReader({ delivered: this.delivered }), "now")
    } else if (phase !== "new" && phase !== "over") {
      const waitedMillis = now - this.#waitingSince
      this.fail(overdue({ phase, waitedMillis, delivered: this.delivered }, this.#env))
    }
  }

  /** The waiting room lets it go. */
  release(): void {
    this.#waited()
    this.#phase = "new"
    this.#seek()
  }

  /** A place at the worker is taken in its name. */
  admitted(): void {
    this.#place = true
    this.#waited()
    this.#phase = "new"
    this.#seek()
  }

  #idleAt(): number {
    return this.delivered === 0 ? this.#openedAt + this.#env.firstTokenMillis : this.#lastFrameAt + this.#env.idleMillis
  }

  #retryAfter(): number {
    return this.#env.connection.retryAfterMillis()
  }

  /** Where now: to the worker, into the queue before it, or into the waiting room. */
  #seek(): void {
    const { connection, places, room } = this.#env
    const link = connection.link()
    if (link === undefined) {
      const patience = holdPatience(this.tally.replays + this.#refusals > 0, this.#env)
      if (patience > 0) this.#hold(patience)
      else this.fail(workerUnavailable(connection))
      // Last, so that those who wait for the place come into the waiting room behind it.
      this.#givePlaceBack()
    } else if (room.keepsOrder && !this.#hasWaited) this.#hold(this.#env.holdMillis)
    else if (this.#place || places.tryTake()) {
      this.#place = true
      this.#open(link)
    } else this.#enqueue()
  }

  #hold(patience: number): void {
    this.#wait("held", patience)
    this.heldBytes = this.#log.bytes
    if (this.#keepsTooMuch() || !this.#env.room.enter(this)) {
      this.#phase = "new"
      this.fail(new E.HoldFull({ retryAfterMillis: this.#retryAfter() }))
    } else this.#notice()
  }

  #enqueue(): void {
    this.#wait("queued", this.#env.queueMillis)
    this.priority = this.tally.identity?.priority ?? 0
    if (this.#keepsTooMuch() || !this.#env.places.enter(this)) {
      this.#phase = "new"
      this.fail(new E.QueueFull({ retryAfterMillis: this.#retryAfter() }))
    }
  }

  #wait(phase: "held" | "queued", patience: number): void {
    const now = this.#env.watchdog.now()
    this.#phase = phase
    this.#waitingSince = now
    this.#hasWaited = true
    this.#patienceAt = now + patience
    this.#span.event(phase)
    this.#env.watchdog.nearer(this.dueAt())
  }

  #waited(): void {
    const millis = Math.round(this.#env.watchdog.now() - this.#waitingSince)
    this.tally.heldMillis += millis
    if (this.#phase === "queued") this.queuedMillis += millis
    const observe = this.#phase === "queued" ? this.#env.metrics.queueTime : this.#env.metrics.holdTime
    observe(millis / 1000, this.#count.traceId)
  }

  /** Tells the user why it takes so long, if that was asked for. It is not the model's words and is never counted. */
  #notice(): void {
    const { connection, holdNotice, watchdog } = this.#env
    if (this.#answered || this.#noticed || this.tally.frames > 0) return
    const patienceMillis = this.#patienceAt - watchdog.now()
    this.#noticed = sendNotice(this.call, { configured: holdNotice, state: connection.current(), patienceMillis })
  }

  #open(link: WorkerLink): void {
    const { watchdog } = this.#env
    const now = watchdog.now()
    this.#phase = "open"
    this.#link = link
    this.#openedAt = now
    this.#lastFrameAt = now
    this.#opened = false
    this.#admissionMillis = now - this.#admittedAt - this.tally.heldMillis
    if (this.#hasWaited) this.#span.event(this.tally.replays > 0 ? "replayed" : "sent")
    const known = this.tally.frames + (this.#noticed ? 1 : 0)
    // Before the first token only: so all frames that the gateway has are without one, and come again.
    this.#rewriting = known === 0 ? undefined : new ReplayedFrames(known, this.tally.frames, this.#env.peek)
    const worker = openFor(this.call, link, {
      path: this.call.path,
      metadata: this.#metadata,
      timeoutMillis: this.#deadlineAt === Number.POSITIVE_INFINITY ? undefined : Math.max(1, this.#deadlineAt - now),
      encoding: this.call.encoding
    }, this.#replies)
    // The link may have said the end already.
    if (this.#phase !== "open" || this.#link !== link) return
    this.#worker = worker
    watchdog.nearer(this.dueAt())
    this.#log.sendAll(worker)
    if (this.#log.room) this.#source?.resume()
  }

  #onRequest(batch: FrameBatch): boolean {
    if (this.#phase === "over") return true
    this.tally.identity ??= identityOf(batch)
    const before = this.#log.bytes
    this.#log.push(batch, this.#worker)
    if (this.#phase === "held") {
      const grown = this.#log.bytes - before
      if (this.#env.room.grow(grown)) this.heldBytes += grown
      else this.fail(new E.HoldFull({ retryAfterMillis: this.#retryAfter() }))
    }
    if (this.#phase === "queued" && this.#keepsTooMuch()) {
      this.fail(new E.QueueFull({ retryAfterMillis: this.#retryAfter() }))
    }
    return this.#log.room
  }

  /** A request that waits is kept whole, and all of them have one bound. */
  #keepsTooMuch(): boolean {
    return this.#log.bytes > 0 && this.#env.requestBytes.exceeded()
  }

  #onHeaders(metadata: Metadata): void {
    this.#lastFrameAt = this.#env.watchdog.now()
    if (this.#answered || this.#noticed) return
    this.#answered = true
    this.call.sendHeaders(metadata, first(metadata, "grpc-encoding"))
  }

  #onReply(batch: FrameBatch): boolean {
    if (this.#phase !== "open") return true
    const out = this.#rewriting === undefined ? batch : this.#rewriting.rewrite(batch)
    const now = this.#env.watchdog.now()
    if (!this.#opened) {
      this.#opened = true
      this.#tellOpening("succeeded", this.#link)
    }
    this.#lastFrameAt = now
    if (out === undefined) return true
    if (this.#count.add(out, now)) {
      // From here on the stream is never sent again.
      this.#span.event("first_token")
      this.#log.forget()
      this.#env.watchdog.nearer(now + this.#env.idleMillis)
    }
    const room = this.call.write(out)
    if (this.#reader.handed(out.length, room, now)) this.#env.watchdog.nearer(this.dueAt())
    return room
  }

  #onGatewayReady(): void {
    if (!this.#reader.ready()) return
    if (this.#leaving !== undefined) return this.#complete(this.#leaving)
    // The worker was not asked for anything meanwhile.
    this.#lastFrameAt = this.#env.watchdog.now()
    this.#worker?.resume()
  }

  /** The caller's time is over, whoever said so first: its RST, our clock, or the worker that was told the deadline. */
  #miss(): void {
    if (this.tally.ended) this.#complete(Status.ok)
    else this.fail(new E.DeadlineExceeded({ delivered: this.delivered }), "now")
  }

  #onWorkerEnd(end: CallEnd): void {
    if (this.#phase !== "open") return
    const [opened, link] = [this.#opened, this.#link]
    this.#worker = undefined
    this.#link = undefined
    if (this.#env.watchdog.now() >= this.#missedFrom && isMissedDeadline(end)) {
      if (!opened) this.#tellOpening("ignored", link)
      if (end.reason === "status") this.#count.takeTrailers(end.status.metadata)
      return this.#miss()
    }
    if (end.reason !== "status") {
      this.#env.connection.suspect()
      if (!opened) this.#tellOpening(end.reason === "refused" ? "ignored" : "failed", link)
    } else {
      if (!opened) this.#tellOpening(end.status.code === Status.Code.INTERNAL ? "failed" : "ignored", link)
      if (!isDismissal(end.status, link)) return this.#onWorkerStatus(end.status)
      // It has said goodbye and ends what it has not finished: the same as if the link had broken.
      this.#count.takeTrailers(end.status.metadata)
    }
    if (this.tally.ended) return this.#leave(Status.ok)
    this.#sendAgain(end)
  }

  #tellOpening(opening: Opening, link: WorkerLink | undefined): void {
    const observer = this.#observer
    this.#observer = undefined
    if (observer === undefined) this.#env.onOpening(opening, link)
    else observer(opening)
  }

  #onWorkerStatus(status: GrpcStatus): void {
    this.#count.takeTrailers(status.metadata)
    if (status.code !== Status.Code.OK) this.fail(new E.WorkerStatus({ status }))
    else if (this.tally.ended || !this.#env.requireEndOfStream) this.#leave(status)
    else {
      const kind = this.tally.frames === 0 ? "empty_stream" : "truncated"
      this.fail(new E.Truncated({ kind, delivered: this.delivered }))
    }
  }

  /** The link broke, or its worker has stopped: before the first token the stream is sent once more, now or when the worker is back. */
  #sendAgain({ reason, status }: CallEnd): void {
    const { metrics, room } = this.#env
    const allowed = reason === "refused" ? this.#refusals < MAX_REFUSALS : this.tally.replays === 0
    if (this.delivered > 0 || !this.#log.replayable || !allowed) {
      return this.fail(workerLost(this.delivered, this.#retryAfter(), reason, status))
    }
    if (reason === "refused") this.#refusals++
    else {
      this.tally.replays++
      metrics.replayed()
    }
    this.#log.rewind()
    // By way of the waiting room, whose pause gives the status time to learn that the link is gone.
    this.#wait("held", holdPatience(this.tally.replays + this.#refusals > 0, this.#env))
    this.heldBytes = this.#log.bytes
    if (!room.enter(this, "after a pause")) {
      this.#phase = "new"
      this.fail(workerLost(0, this.#retryAfter(), reason, status))
    }
    this.#givePlaceBack()
  }

  /** The worker has said all. A gateway that has stopped to read may still turn out not to take it. */
  #leave(status: GrpcStatus): void {
    if (this.#reader.dueAt === undefined) return this.#complete(status)
    this.#leaving = status
    this.#givePlaceBack()
  }

  #complete(status: GrpcStatus): void {
    this.#decide(status, "completed")
  }

  #decide(status: GrpcStatus, outcome: Outcome, delivery: "flush" | "now" = "flush"): void {
    if (this.#phase === "over") return
    const end: StreamEnd = { status, outcome, grpcStatus: status.code, delivery, at: this.#env.watchdog.now() }
    const phase = this.#phase
    if (phase === "held" || phase === "queued") this.#waited()
    this.#phase = "over"
    this.#end = end
    this.#worker?.cancel()
    this.#worker = undefined
    if (phase === "held") this.#env.room.leave(this)
    else if (phase === "queued") this.#env.places.leave(this)
    this.#givePlaceBack()
    this.#env.watchdog.remove(this)
    this.#log.clear()
    this.#onSettled?.()
  }

  #givePlaceBack(): void {
    if (!this.#place) return
    this.#place = false
    this.#env.places.giveBack()
  }

  /** Says the end to the gateway; to be called when the end is committed. */
  finish(): void {
    const { metrics, watchdog } = this.#env
    const end = this.#end
    if (end === undefined) return
    this.call.end(end.status, end.delivery)
    metrics.streamOverhead((this.#admissionMillis + watchdog.now() - end.at) / 1000)
  }
}
