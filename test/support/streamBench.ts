import { Effect, Exit, Fiber, type Scope, Stream } from "effect"
import { PlaceQueue } from "../../src/internal/stream/placeQueue.ts"
import { RequestBytes } from "../../src/internal/stream/requestBytes.ts"
import { anonymous } from "../../src/internal/stream/requestIdentity.ts"
import type { Opening, StreamEnv } from "../../src/internal/stream/streamEnv.ts"
import { peekOptions, StreamLimits } from "../../src/internal/stream/streamLimits.ts"
import { StreamUnderWay } from "../../src/internal/stream/streamUnderWay.ts"
import { WaitingRoom } from "../../src/internal/stream/waitingRoom.ts"
import * as Watchdog from "../../src/internal/stream/watchdog.ts"
import { Tally } from "../../src/internal/usage/tally.ts"
import { openListening, type ReplyListener } from "../../src/internal/wire/pulledCall.ts"
import { statusOf } from "../../src/internal/wire/streamStatus.ts"
import * as NoMetrics from "../../src/layers/NoMetrics.ts"
import { errorOf, type StreamError } from "../../src/services/StreamError.ts"
import { StreamMetrics } from "../../src/services/StreamMetrics.ts"
import { noTracing, type SpanEvent } from "../../src/services/StreamTracer.ts"
import { type CallStart, type Metadata, noMetadata } from "../../src/services/Wire.ts"
import type { WorkerLink } from "../../src/services/WorkerChannel.ts"
import type { WorkerConnection } from "../../src/services/WorkerConnection.ts"
import { WorkerState } from "../../src/services/WorkerConnection.ts"
import { type ScriptedCall, ScriptedLink } from "../../src/testing/scriptedLink.ts"
import * as TestConfig from "../../src/testing/TestConfig.ts"
import { FakeCall } from "./fakeCall.ts"
import { PREDICT } from "./replies.ts"

/** A link whose worker is the test itself: it says what it says at once, also to a stream that reads nothing. */
export class OutspokenLink implements WorkerLink {
  worker: ReplyListener | undefined
  cancelled = false

  readonly open = (start: CallStart) =>
    openListening((_, listener) => {
      this.worker = listener
      const cancel = (): void => void (this.cancelled = true)
      return { write: () => true, halfClose: () => {}, resume: () => {}, cancel }
    }, start)

  readonly gone = Effect.never
  readonly ping = undefined
  readonly isGoingAway = () => false
  readonly timesHeard = () => 0
  readonly openCalls = () => 0
}

/** When a refused gateway is told to come back, in milliseconds. */
export const RETRY_AFTER = 2000

export const connected = WorkerState.Connected({ since: 0 })

export const reloading = WorkerState.Reloading({ since: 0, until: undefined })

export const disconnected = WorkerState.Disconnected({
  since: 0,
  reason: "SocketMissing",
  detail: "",
  remedy: "",
  attempt: 1,
  retryAt: undefined
})

/**
 * What the steps of a stream stand on: the waiting room, the queue and the watchdog are the real ones, since a step is what it
 * does with them; the connection is what the test says, and the worker's side of a call is the test's.
 */
export class StreamBench {
  link: WorkerLink | undefined
  state: WorkerState = connected
  dueInMillis: number | undefined
  /** Calls as they arrived at the worker. */
  readonly calls: Array<ScriptedCall> = []
  readonly openings: Array<Opening> = []
  /** Seconds, as the metrics were told them. */
  readonly told = { held: new Array<number>(), queued: new Array<number>(), replayed: 0, suspects: 0 }
  readonly env: StreamEnv
  /** The link that is there from the start. */
  readonly first: ScriptedLink

  constructor(overrides: TestConfig.Overrides, watchdog: Watchdog.Watchdog, metrics: StreamMetrics["Service"]) {
    const { told } = this
    const config = TestConfig.make(overrides)
    const connection: WorkerConnection["Service"] = {
      current: () => this.state,
      link: () => this.link,
      retryAfterMillis: () => RETRY_AFTER,
      dueInMillis: () => this.dueInMillis,
      suspect: () => void told.suspects++,
      elapsedMillis: () => 0,
      lastHealth: () => undefined,
      onChange: () => () => {},
      changes: Stream.empty,
      awaitConnected: Effect.never,
      health: Effect.never,
      announceReload: () => Effect.never,
      announceReady: Effect.never,
      reconnect: Effect.never
    }
    this.env = Object.assign(new StreamLimits(config), {
      watchdog,
      room: new WaitingRoom({
        limits: config.reload,
        watchdog,
        onSize: () => {},
        isOpen: () => this.link !== undefined
      }),
      places: new PlaceQueue(config.server, () => {}, config.tenants.fair_queue),
      connection,
      metrics: {
        ...metrics,
        holdTime: (seconds: number) => void told.held.push(seconds),
        queueTime: (seconds: number) => void told.queued.push(seconds),
        replayed: () => void told.replayed++
      },
      peek: peekOptions(config, undefined),
      onOpening: (opening: Opening) => void this.openings.push(opening),
      requestBytes: new RequestBytes(() => config.server.max_buffered_request_bytes, () => {})
    })
    this.first = this.up()
  }

  /** A worker comes, and with it those that wait. */
  up(): ScriptedLink {
    const link = new ScriptedLink({
      process: 1,
      now: this.env.watchdog.now,
      nextCallId: () => this.calls.length + 1,
      serve: (call) => void this.calls.push(call),
      record: () => {},
      recordCall: () => {},
      acknowledge: Effect.never
    })
    this.link = link
    this.state = connected
    this.env.room.open()
    return link
  }

  /** No link for new streams from now on. */
  down(state: WorkerState = reloading): void {
    this.link = undefined
    this.state = state
  }
}

export const makeBench = (overrides: TestConfig.Overrides = {}): Effect.Effect<StreamBench, never, Scope.Scope> =>
  Effect.gen(function*() {
    return new StreamBench(overrides, yield* Watchdog.make, yield* StreamMetrics)
  }).pipe(Effect.provide(NoMetrics.layer))

/** A stream in one of its steps. */
export interface Begun<A> {
  readonly stream: StreamUnderWay
  readonly call: FakeCall
  readonly fiber: Fiber.Fiber<A, StreamError>
  /** What its span was told. */
  readonly events: ReadonlyArray<SpanEvent>
}

/** What a test can choose of its stream. */
export interface BeginOptions {
  readonly call?: FakeCall
  /** What may pass to the worker. */
  readonly metadata?: Metadata
  readonly tenant?: string
  readonly priority?: number
  /** Done in the fiber, before the step. */
  readonly prepare?: (stream: StreamUnderWay) => void
}

/**
 * Runs a step for a new stream, in a fiber and a scope that are the stream's, up to where it waits. A stream that a step has
 * ended gives back what it has, as on its whole path.
 */
export const begin = <A>(
  { env }: StreamBench,
  step: (stream: StreamUnderWay) => Effect.Effect<A, StreamError, Scope.Scope>,
  { call = new FakeCall(PREDICT), metadata = noMetadata, prepare, priority = 0, tenant = "" }: BeginOptions = {}
): Effect.Effect<Begun<A>> =>
  Effect.gen(function*() {
    const events: Array<SpanEvent> = []
    const run = Effect.suspend(() => {
      env.watchdog.add(stream.limits)
      prepare?.(stream)
      return step(stream)
    })
    const released = Effect.onError(Effect.scoped(run), () => Effect.sync(() => stream.release()))
    const fiber = yield* Effect.forkChild(released)
    const tally = new Tally(1, "one", 0)
    tally.identity = { ...anonymous, tenant, priority }
    const span = { ...noTracing.start(noMetadata), event: (event: SpanEvent) => void events.push(event) }
    const stream = new StreamUnderWay(call, metadata, tally, span, env, fiber, undefined)
    yield* Effect.yieldNow
    return { stream, call, fiber, events }
  })

/** Why a step is over: all that its error says, and the word that the gateway is told. */
export interface Why {
  readonly reason: unknown
  readonly [field: string]: unknown
}

const wordsOf = (exit: Exit.Exit<unknown, StreamError>): Why | undefined => {
  const error = Exit.isFailure(exit) ? errorOf(exit.cause) : undefined
  return error === undefined ? undefined : { ...error, reason: statusOf(error).metadata["cy-reason"] }
}

/** Why it ended; `undefined`: well, or without a word. */
export const whyOf = ({ fiber }: Begun<unknown>): Effect.Effect<Why | undefined> =>
  Effect.map(Fiber.await(fiber), wordsOf)

/** Whether it still waits. */
export const waits = ({ fiber }: Begun<unknown>): boolean => fiber.pollUnsafe() === undefined
