import { Duration, Effect, Exit, Fiber, Latch, Layer, type Scope, Stream } from "effect"
import { CircuitBreaker } from "effect/persistence"
import { type Arrival, Arrivals } from "../internal/stream/arrivals.ts"
import type { FirstMessage } from "../internal/stream/firstMessage.ts"
import { PassthroughCall } from "../internal/stream/passthroughCall.ts"
import { PlaceQueue } from "../internal/stream/placeQueue.ts"
import { ProxiedStream } from "../internal/stream/proxiedStream.ts"
import { peekRequest } from "../internal/stream/requestIdentity.ts"
import type { Opening, StreamEnv } from "../internal/stream/streamEnv.ts"
import { outcomeOf, statusOf } from "../internal/stream/streamStatus.ts"
import { WaitingRoom } from "../internal/stream/waitingRoom.ts"
import * as Watchdog from "../internal/stream/watchdog.ts"
import { workerUnavailable } from "../internal/stream/workerUnavailable.ts"
import { makeDecompress } from "../internal/wire/decompress.ts"
import { inflater } from "../internal/wire/inflate.ts"
import { pass, type Passed } from "../internal/wire/metadata.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import { Limits } from "../services/Limits.ts"
import { Metrics } from "../services/Metrics.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import * as E from "../services/StreamError.ts"
import { type StreamSpan, StreamTracer } from "../services/StreamTracer.ts"
import { tokensOf, UsageMeter } from "../services/UsageMeter.ts"
import type { StreamIdentity } from "../services/UsageRecord.ts"
import type { ServerCall } from "../services/Wire.ts"
import type { WorkerLink } from "../services/WorkerChannel.ts"
import { WorkerConnection } from "../services/WorkerConnection.ts"

const KEY = "worker"
/** Calls that break together with their link are one failure of the worker, not one each. */
const SAME_BREAK_MILLIS = 50
/** Room for the path within what stays beside `[server] max_metadata_bytes`. */
const ORDINARY_PATH_LENGTH = 256
/** A compressed request is opened for its identity alone, off the event loop; one that is larger stays anonymous. */
const IDENTITY_LIMITS = { inBytes: 1024 * 1024, outBytes: 4 * 1024 * 1024, atOnce: 2 }
/** While the one probe of a half-open circuit is under way. */
const PROBING_RETRY_MILLIS = 1000

const circuitNames = { Closed: "closed", Open: "open", HalfOpen: "half_open" } as const

/**
 * Effect's circuit breaker around the opening of a stream. While all is well a stream does not pass through it at all;
 * only after a failure is every opening admitted and recorded by it, until it is closed again by a success.
 */
const makeBreaker = Effect.fnUntraced(function*(
  options: { readonly tripAfter: number; readonly openMillis: number },
  metrics: Metrics["Service"],
  now: () => number
) {
  const breaker = yield* CircuitBreaker.make({
    tripPolicy: CircuitBreaker.consecutive(options.tripAfter),
    openDuration: Duration.millis(options.openMillis)
  })
  const track = Fiber.runIn(yield* Effect.scope)
  const run = Effect.runForkWith(yield* Effect.context<never>())
  metrics.circuitState("closed")
  yield* breaker.transitions.pipe(
    Stream.runForEach((transition) =>
      Effect.sync(() => metrics.circuitState(circuitNames[transition.to])).pipe(
        Effect.andThen(
          Effect.logWarning("circuit breaker").pipe(
            Effect.annotateLogs({ from: circuitNames[transition.from], to: circuitNames[transition.to] })
          )
        )
      )
    ),
    Effect.forkScoped({ startImmediately: true })
  )

  const classify = (exit: Exit.Exit<Opening>): CircuitBreaker.Outcome => {
    if (Exit.isFailure(exit) || exit.value === "ignored") return CircuitBreaker.ignored
    return exit.value === "succeeded" ? CircuitBreaker.success : CircuitBreaker.failure()
  }
  let watchful = false
  let lastBreak: { readonly link: WorkerLink | undefined; readonly at: number } | undefined

  const record = (opening: Opening, link: WorkerLink | undefined): void => {
    if (opening !== "failed") return
    const at = now()
    const same = lastBreak !== undefined && lastBreak.link === link && at - lastBreak.at < SAME_BREAK_MILLIS
    lastBreak = { link, at }
    if (same) return
    watchful = true
    track(run(Effect.ignore(breaker.execute(Effect.succeed(opening), { key: KEY, classify }))))
  }
  const guard = (opening: Effect.Effect<Opening>): Effect.Effect<void, E.CircuitOpen> =>
    breaker.execute(opening, { key: KEY, classify }).pipe(
      Effect.map((opening) => {
        if (opening === "succeeded") watchful = false
      }),
      Effect.mapError(({ reason }) =>
        new E.CircuitOpen({
          retryAfterMillis: reason._tag === "CircuitOpen"
            ? Duration.toMillis(reason.retryAfter)
            : PROBING_RETRY_MILLIS
        })
      )
    )
  /** Why a new stream is not even admitted; a stream that loses a race for the one probe is told by {@link guard}. */
  const refusal: Effect.Effect<E.CircuitOpen | undefined> = breaker.state(KEY).pipe(
    Effect.map((state) =>
      state._tag === "Open" && Duration.toMillis(state.retryAfter) > 0
        ? new E.CircuitOpen({ retryAfterMillis: Duration.toMillis(state.retryAfter) })
        : state._tag === "HalfOpen" && state.probing
        ? new E.CircuitOpen({ retryAfterMillis: PROBING_RETRY_MILLIS })
        : undefined
    ),
    Effect.orElseSucceed(() => undefined)
  )
  return { record, guard, refusal, isWatchful: () => watchful }
})

const make: Effect.Effect<
  InferenceProxy["Service"],
  never,
  SidecarConfig | WorkerConnection | UsageMeter | Metrics | CircuitBreaker.CircuitBreakerStore | Scope.Scope
> = Effect.gen(function*() {
  const config = yield* SidecarConfig
  const connection = yield* WorkerConnection
  const meter = yield* UsageMeter
  const tracer = yield* StreamTracer
  const metrics = yield* Metrics
  const limits = yield* Limits
  const watchdog = yield* Watchdog.make
  const breaker = yield* makeBreaker(
    { tripAfter: config.circuit_breaker.trip_after, openMillis: config.circuit_breaker.open_secs * 1000 },
    metrics,
    watchdog.now
  )

  const room = new WaitingRoom({
    maxStreams: config.reload.max_held_streams,
    maxBytes: config.reload.max_held_bytes,
    watchdog,
    onSize: metrics.heldStreams,
    isOpen: () => connection.link() !== undefined
  })
  yield* Effect.acquireRelease(
    Effect.sync(() => connection.onChange((state) => void (state._tag === "Connected" && room.open()))),
    (unsubscribe) => Effect.sync(unsubscribe)
  )

  const env: StreamEnv = {
    watchdog,
    room,
    places: new PlaceQueue(config.server.max_worker_streams, config.server.max_queued_streams, metrics.queuedStreams),
    connection,
    metrics,
    peek: {
      noticePrefixes: config.metering.notice_prefixes.map((prefix) => new TextEncoder().encode(prefix)),
      inflate: inflater({
        now: watchdog.now,
        onLimit: () =>
          limits.reached(
            "inflate",
            () =>
              "the worker sends more compressed messages than can be looked into: their tokens are not counted; let it " +
              "send them uncompressed, as it is asked to"
          )
      })
    },
    onOpening: breaker.record,
    holdMillis: config.reload.hold_timeout_secs * 1000,
    holdOnDisconnectMillis: config.reload.hold_on_disconnect_secs * 1000,
    holdNotice: config.reload.hold_notice,
    queueMillis: config.server.queue_timeout_secs * 1000,
    firstTokenMillis: config.server.first_token_timeout_secs * 1000,
    idleMillis: config.server.stream_idle_timeout_secs * 1000,
    slowReaderMillis: config.server.slow_reader_timeout_secs * 1000,
    replayMaxBytes: config.reload.replay_max_bytes,
    requireEndOfStream: config.server.require_end_of_stream
  }

  const arrivals = new Arrivals({
    limit: config.server.max_concurrent_streams,
    patienceMillis: config.server.first_message_timeout_secs * 1000,
    watchdog,
    limits,
    onSize: (size) => metrics.openCalls("silent", size)
  })
  const decompress = makeDecompress(IDENTITY_LIMITS)
  const streams = new Set<ProxiedStream>()
  const others = new Set<PassthroughCall>()
  const idle = yield* Latch.make(true)
  const drainListeners = new Set<(draining: boolean) => void>()
  let draining = false

  const left = (): void => {
    if (streams.size === 0 && others.size === 0) idle.openUnsafe()
  }
  const setDraining = (value: boolean) =>
    Effect.sync(() => {
      if (draining === value) return
      draining = value
      if (value) arrivals.refuseAll(() => new E.Draining({ delivered: 0 }))
      for (const listener of drainListeners) listener(value)
    })

  /** An ordinary path counts nothing; a very long one would break the worker's connection like metadata does. */
  const tooLarge = (call: ServerCall, metadataBytes: number): E.MetadataTooLarge | undefined => {
    const limit = config.server.max_metadata_bytes
    const bytes = metadataBytes + Math.max(0, call.path.length - ORDINARY_PATH_LENGTH)
    return bytes > limit ? new E.MetadataTooLarge({ bytes, limit }) : undefined
  }

  const refuse = (call: ServerCall, error: E.StreamError, delivery: "flush" | "now" = "flush"): void => {
    const status = statusOf(error)
    call.end(status, delivery)
    metrics.handled(call.path, status.code)
    if (error._tag === "MetadataTooLarge") metrics.metadataRejected()
  }

  const refusal = (): E.StreamError | undefined => {
    if (draining) return new E.Draining({ delivered: 0 })
    const limit = config.server.max_concurrent_streams
    if (streams.size >= limit) return new E.TooManyStreams({ limit })
    const { _tag } = connection.current()
    const held = _tag === "Reloading" || _tag === "Connected" || env.holdOnDisconnectMillis > 0
    if (connection.link() === undefined && !held) {
      return workerUnavailable(connection)
    }
    return undefined
  }

  const settled = (stream: ProxiedStream, begin: (onSettled: () => void) => void): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      begin(() => resume(Effect.void))
      return Effect.sync(() => stream.depart("cancelled"))
    })

  const carry = (stream: ProxiedStream, requests: FirstMessage): Effect.Effect<void> =>
    settled(stream, (onSettled) => stream.begin(requests, onSettled))

  const carryGuarded = (stream: ProxiedStream, requests: FirstMessage): Effect.Effect<void> => {
    let onSettled = () => {}
    const opening = Effect.callback<Opening>((resume) => {
      stream.observeOpening((opening) => resume(Effect.succeed(opening)))
      stream.begin(requests, () => {
        resume(Effect.succeed("ignored"))
        onSettled()
      })
      return Effect.sync(() => stream.depart("cancelled"))
    })
    return breaker.guard(opening).pipe(
      Effect.catch((error) => Effect.sync(() => stream.fail(error))),
      Effect.andThen(settled(stream, (resume) => {
        if (stream.end === undefined) onSettled = resume
        else resume()
      }))
    )
  }

  const finish = (stream: ProxiedStream, span: StreamSpan): Effect.Effect<void> =>
    Effect.suspend(() => {
      // Undecided only when its fiber was ended from outside.
      if (stream.end === undefined) stream.depart("cancelled")
      return stream.end === undefined ? Effect.void : meter.close(stream.tally, stream.end)
    }).pipe(
      Effect.andThen(Effect.sync(() => {
        stream.finish()
        if (stream.end !== undefined) span.end(stream.tally, stream.end)
        streams.delete(stream)
        left()
      })),
      Effect.andThen(Effect.suspend(() => logEnd(stream)))
    )

  /** From here on the stream counts: it has a record, whatever its end. */
  const admit = (
    call: ServerCall,
    metadata: Passed["metadata"],
    identity: StreamIdentity | undefined,
    carryOn: (stream: ProxiedStream) => Effect.Effect<void>
  ): Effect.Effect<void> => {
    const span = tracer.start(call.metadata)
    if (span.traceparent !== undefined) metadata["traceparent"] = span.traceparent
    const tally = meter.open()
    if (identity !== undefined) tally.identity = identity
    const stream = new ProxiedStream(call, metadata, tally, env)
    streams.add(stream)
    idle.closeUnsafe()
    return Effect.ensuring(carryOn(stream), finish(stream, span))
  }

  /** The sidecar itself has ended a call that had not become a stream. */
  const endUnadmitted = (call: ServerCall, error: E.StreamError): void => {
    refuse(call, error, error._tag === "DeadlineExceeded" || error._tag === "RequestTimeout" ? "now" : "flush")
    const outcome = error._tag === "Draining" ? "refused" : outcomeOf(error)
    metrics.streamEnded(outcome, Math.max(0, watchdog.now() - call.arrivedAt) / 1000)
  }

  /** A compressed request is opened before the stream begins; nobody else waits for that. */
  const identify = (requests: FirstMessage, call: ServerCall): Effect.Effect<StreamIdentity | undefined> =>
    requests.message === undefined || !requests.compressed
      ? Effect.undefined
      : decompress(requests.message, call.encoding).pipe(
        Effect.map(peekRequest),
        Effect.orElseSucceed(() => undefined)
      )

  const begin = (
    call: ServerCall,
    metadata: Passed["metadata"],
    arrival: Arrival,
    restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>
  ): Effect.Effect<void> => {
    switch (arrival._tag) {
      case "Refused":
        return Effect.sync(() => endUnadmitted(call, arrival.error))
      case "Rejected":
        return Effect.sync(() => {
          metrics.handled(call.path, arrival.status.code)
          metrics.streamEnded("failed", Math.max(0, watchdog.now() - call.arrivedAt) / 1000)
        })
      case "Arrived": {
        const { requests } = arrival
        const refused = refusal()
        if (refused !== undefined) return Effect.sync(() => endUnadmitted(call, refused))
        const admitted = (carryOn: typeof carry) =>
          Effect.flatMap(
            identify(requests, call),
            (identity) => admit(call, metadata, identity, (stream) => restore(carryOn(stream, requests)))
          )
        if (!breaker.isWatchful() || connection.link() === undefined) return admitted(carry)
        return Effect.flatMap(
          breaker.refusal,
          (open) => open === undefined ? admitted(carryGuarded) : Effect.sync(() => endUnadmitted(call, open))
        )
      }
    }
  }

  // Uninterruptible but for the stream itself: whatever is counted here, `finish` takes back.
  const predict = (call: ServerCall): Effect.Effect<void> =>
    Effect.uninterruptibleMask((restore) => {
      metrics.streamStarted()
      const { bytes, metadata } = pass(call.metadata)
      const refused = refusal() ?? tooLarge(call, bytes)
      if (refused !== undefined) return Effect.sync(() => endUnadmitted(call, refused))
      return Effect.matchCauseEffect(restore(arrivals.awaitFirst(call)), {
        onFailure: () => Effect.sync(() => endUnadmitted(call, new E.GatewayGone({ departure: "cancelled" }))),
        onSuccess: (arrival) => begin(call, metadata, arrival, restore)
      })
    })

  /** As many calls of other methods as streams. */
  const tooManyOthers = (): E.TooManyStreams | undefined => {
    const limit = config.server.max_concurrent_streams
    return others.size >= limit ? new E.TooManyStreams({ limit }) : undefined
  }

  const passthrough = (call: ServerCall): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { bytes, metadata } = pass(call.metadata)
      const link = connection.link()
      const refused = draining ? new E.Draining({ delivered: 0 }) : tooManyOthers() ?? tooLarge(call, bytes)
      if (refused !== undefined || link === undefined) {
        refuse(
          call,
          refused ?? workerUnavailable(connection)
        )
        return Effect.void
      }
      return Effect.callback<void>((resume) => {
        const carried: PassthroughCall = new PassthroughCall(call, watchdog, (status) => {
          others.delete(carried)
          metrics.handled(call.path, status.code)
          left()
          resume(Effect.void)
        })
        others.add(carried)
        idle.closeUnsafe()
        carried.begin(link, metadata)
        return Effect.sync(() => carried.depart("cancelled"))
      })
    })

  return InferenceProxy.of({
    predict,
    passthrough,
    drain: setDraining(true),
    undrain: setDraining(false),
    draining: () => draining,
    onDraining: (listener) => {
      drainListeners.add(listener)
      return () => void drainListeners.delete(listener)
    },
    inFlight: () => streams.size,
    awaitIdle: idle.await,
    abortAll: Effect.sync(() => {
      for (const stream of streams) stream.fail(new E.Draining({ delivered: stream.delivered }), "now")
      for (const call of others) call.fail(new E.Draining({ delivered: 1 }), "now")
    })
  })
})

/** What an operator should see of a stream's end; ordinary ends are for debugging only. Looks when it runs. */
const logEnd = (stream: ProxiedStream): Effect.Effect<void> =>
  Effect.suspend(() => {
    const end = stream.end
    if (end === undefined) return Effect.void
    const quiet = end.outcome === "completed" || end.outcome === "cancelled" || end.outcome === "refused"
    return (quiet ? Effect.logDebug("stream ended") : Effect.logInfo("stream ended")).pipe(
      Effect.annotateLogs({
        outcome: end.outcome,
        grpc_status: end.grpcStatus,
        tokens: tokensOf(stream.tally),
        model_id: stream.tally.identity?.modelId ?? "",
        trace_id: stream.tally.identity?.traceId ?? "",
        record_id: stream.tally.recordId
      })
    )
  })

/** The path of a stream, with hold, replay, queue and circuit breaker (docs/design.md §5, §6). */
export const layer: Layer.Layer<
  InferenceProxy,
  never,
  SidecarConfig | WorkerConnection | UsageMeter | Metrics
> = Layer.effect(InferenceProxy, make).pipe(Layer.provide(CircuitBreaker.layerStoreMemory()))
