import { type Effect, type Fiber, Latch } from "effect"
import type { RunningStream } from "../../services/RunningStream.ts"
import type { StreamSpan } from "../../services/StreamTracer.ts"
import type { UsageTally } from "../../services/UsageMeter.ts"
import type { FrameBatch, Metadata, ServerCall, Status, WorkerCall } from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { Delivery } from "./delivery.ts"
import { sendNotice } from "./holdNotice.ts"
import type { Owner } from "./placeQueue.ts"
import type { ReplayedFrames } from "./replayedFrames.ts"
import { RequestLog } from "./requestLog.ts"
import type { Opening, StreamEnd, StreamEnv } from "./streamEnv.ts"
import { StreamWatch } from "./streamWatch.ts"
import type { TenantAccount } from "./tenants.ts"

/** The attempt that a stream makes now, or has made last. */
export interface Attempt {
  readonly link: WorkerLink
  readonly worker: WorkerCall
  readonly rewriting: ReplayedFrames | undefined
  /** The circuit breaker knows how it went. */
  told: boolean
}

/**
 * One StreamPredict call that was admitted: what its steps (seek, open, replies, replay, deliver) share. The steps are
 * Effects in files of their own; here is only what outlives one of them.
 */
export class StreamUnderWay implements Owner {
  /** Its place among the streams in flight. */
  place = -1
  readonly call: ServerCall
  /** What may pass to the worker. */
  readonly metadata: Metadata
  readonly tally: UsageTally
  readonly span: StreamSpan
  readonly env: StreamEnv
  /** Of its tenant, where tenants have limits. */
  readonly account: TenantAccount | undefined
  readonly limits: StreamWatch
  readonly log: RequestLog
  readonly delivery: Delivery
  /** Monotonic milliseconds. */
  readonly admittedAt: number
  /** Milliseconds between the first message and the worker that are not waiting: what the sidecar adds at the start. */
  admissionMillis = 0
  attempt: Attempt | undefined
  /** Its place in the waiting room, while it is held. */
  held: { heldBytes: number } | undefined
  /** Opens with the next attempt: requests that found no room wait for it. */
  attempted: Latch.Latch | undefined
  refusals = 0
  /** The gateway has headers. */
  answered = false
  /** The gateway has a notice of ours. */
  noticed = false
  /** How it ended, once that is decided. */
  end: StreamEnd | undefined
  /** That it is over has still to reach the worker. */
  cancelsAtWorker = false
  /** The worker's last word. */
  status: Status | undefined
  /** Of the last batch, what its caller has not asked for yet. */
  rest: FrameBatch | undefined
  /** What its replies are pulled from. */
  source: { next: unknown } | undefined
  #place = false

  constructor(
    call: ServerCall,
    metadata: Metadata,
    tally: UsageTally,
    span: StreamSpan,
    env: StreamEnv,
    fiber: Fiber.Fiber<unknown, unknown>,
    account: TenantAccount | undefined
  ) {
    this.account = account
    this.call = call
    this.metadata = metadata
    this.tally = tally
    this.span = span
    this.env = env
    this.delivery = new Delivery(this)
    this.limits = new StreamWatch(call, tally, env, fiber, this.delivery)
    this.log = new RequestLog(env.replayMaxBytes, env.requestBytes)
    this.admittedAt = env.watchdog.now()
  }

  get state(): RunningStream["state"] {
    const { phase } = this.limits
    return phase === "held" || phase === "queued" ? phase : "at the worker"
  }

  get tenant(): string {
    return this.tally.identity?.tenant ?? ""
  }

  get retryAfterMillis(): number {
    return this.env.connection.retryAfterMillis()
  }

  /** It has been at a worker before. */
  get wasSent(): boolean {
    return this.tally.replays + this.refusals > 0
  }

  /** A request that waits is kept whole, and all of them have one bound. */
  get keepsTooMuch(): boolean {
    return this.log.bytes > 0 && this.env.requestBytes.exceeded()
  }

  /** A place at the worker, if it has one or there is one. */
  takePlace(): boolean {
    this.#place ||= this.env.places.tryTake(this)
    return this.#place
  }

  /** A place was taken in its name. */
  hasPlace(): void {
    this.#place = true
  }

  givePlaceBack(): void {
    if (!this.#place) return
    this.#place = false
    this.env.places.giveBack(this)
  }

  /** Tells the user why it takes so long, if that was asked for. It is not the model's words and is never counted. */
  notice(patienceMillis: number): void {
    if (this.answered || this.noticed || this.tally.frames > 0) return
    const { connection, holdNotice } = this.env
    this.noticed = sendNotice(this.call, { configured: holdNotice, state: connection.current(), patienceMillis })
  }

  /** The circuit breaker hears once of each attempt. */
  tellOpening(attempt: Attempt, opening: Opening): void {
    if (attempt.told) return
    attempt.told = true
    this.env.onOpening(opening, attempt.link)
  }

  /** Completes when there may be room for another request frame. */
  awaitAttempt(): Effect.Effect<void> {
    this.attempted ??= Latch.makeUnsafe(false)
    return this.attempted.await
  }

  /** What comes back when it is over, however that was. */
  release(): void {
    this.givePlaceBack()
    this.env.watchdog.remove(this.limits)
    this.log.clear()
    if (this.source !== undefined) this.source.next = undefined
  }
}
