import { Effect, Latch, Layer, type Scope } from "effect"
import { CircuitBreaker } from "effect/persistence"
import { Roster } from "../internal/roster.ts"
import {
  type AdmissionFacts,
  admissionOf,
  isReady,
  ReadyWatch,
  refusalAtTheDoor
} from "../internal/stream/admission.ts"
import { type Arrival, Arrivals } from "../internal/stream/arrivals.ts"
import { departed } from "../internal/stream/deadline.ts"
import { describe } from "../internal/stream/describe.ts"
import type { FirstMessage } from "../internal/stream/firstMessage.ts"
import * as OpeningBreaker from "../internal/stream/openingBreaker.ts"
import { PassthroughCall } from "../internal/stream/passthroughCall.ts"
import { PlaceQueue } from "../internal/stream/placeQueue.ts"
import { ProxiedStream } from "../internal/stream/proxiedStream.ts"
import { RequestBytes } from "../internal/stream/requestBytes.ts"
import { peekRequest } from "../internal/stream/requestIdentity.ts"
import type { Opening, StreamEnv } from "../internal/stream/streamEnv.ts"
import { peekOptions, StreamLimits } from "../internal/stream/streamLimits.ts"
import { reportOf } from "../internal/stream/streamReport.ts"
import { unadmitted } from "../internal/stream/unadmitted.ts"
import { WaitingRoom } from "../internal/stream/waitingRoom.ts"
import * as Watchdog from "../internal/stream/watchdog.ts"
import { workerUnavailable } from "../internal/stream/workerUnavailable.ts"
import { makeDecompress, OWN_LIMITS } from "../internal/wire/decompress.ts"
import { inflater } from "../internal/wire/inflate.ts"
import { pass, type Passed } from "../internal/wire/metadata.ts"
import { statusOf } from "../internal/wire/streamStatus.ts"
import { CallMetrics } from "../services/CallMetrics.ts"
import { onSettingsChange } from "../services/ConfigReload.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import { Limits } from "../services/Limits.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import * as E from "../services/StreamError.ts"
import { StreamMetrics } from "../services/StreamMetrics.ts"
import { StreamReports } from "../services/StreamReports.ts"
import { type StreamSpan, StreamTracer } from "../services/StreamTracer.ts"
import { UsageMeter } from "../services/UsageMeter.ts"
import type { StreamIdentity } from "../services/UsageRecord.ts"
import type { ServerCall } from "../services/Wire.ts"
import type { WorkerLink } from "../services/WorkerChannel.ts"
import { WorkerConnection } from "../services/WorkerConnection.ts"

/** Room for the path within what stays beside `[server] max_metadata_bytes`. */
const ORDINARY_PATH_LENGTH = 256
/** What the path of a stream stands on. */
type Needs = SidecarConfig | WorkerConnection | UsageMeter | StreamMetrics | CallMetrics | StreamReports

const make: Effect.Effect<
  InferenceProxy["Service"],
  never,
  Needs | CircuitBreaker.CircuitBreakerStore | Scope.Scope
> = Effect.gen(function*() {
  const config = yield* SidecarConfig
  const connection = yield* WorkerConnection
  const meter = yield* UsageMeter
  const tracer = yield* StreamTracer
  const metrics = yield* StreamMetrics
  const calls = yield* CallMetrics
  const reports = yield* StreamReports
  const limits = yield* Limits
  const watchdog = yield* Watchdog.make
  const breaker = yield* OpeningBreaker.make(
    { tripAfter: config.circuit_breaker.trip_after, openMillis: config.circuit_breaker.open_secs * 1000 },
    metrics,
    watchdog.now
  )

  /** So many are held or queued that it may matter to those who come. */
  let onCrowd = (): void => {}
  const room = new WaitingRoom({
    limits: config.reload,
    watchdog,
    onSize: (size) => {
      metrics.heldStreams(size)
      onCrowd()
    },
    isOpen: () => connection.link() !== undefined
  })
  yield* Effect.acquireRelease(
    Effect.sync(() => connection.onChange((state) => void (state._tag === "Connected" && room.open()))),
    (unsubscribe) => Effect.sync(unsubscribe)
  )

  const places = new PlaceQueue(config.server, (size) => {
    metrics.queuedStreams(size)
    onCrowd()
  })
  const env: StreamEnv = Object.assign(new StreamLimits(config), {
    watchdog,
    room,
    places,
    connection,
    metrics,
    peek: peekOptions(
      config,
      inflater({
        now: watchdog.now,
        onLimit: () =>
          limits.reached(
            "inflate",
            () =>
              "the worker sends more compressed messages than can be looked into: their tokens are not counted; let it " +
              "send them uncompressed, as it is asked to"
          )
      })
    ),
    onOpening: breaker.record,
    requestBytes: new RequestBytes(
      () => config.server.max_buffered_request_bytes,
      () =>
        limits.reached(
          "request_bytes",
          () =>
            "requests that wait, or are kept to be sent again, take more than [server] max_buffered_request_bytes: streams " +
            "at the worker lose their right to be sent again, others are refused"
        )
    )
  })

  const arrivals = new Arrivals({
    settings: config.server,
    watchdog,
    limits,
    onSize: (size) => calls.openCalls("silent", size)
  })
  // A compressed request is opened for its identity alone, off the event loop; one that is larger stays anonymous.
  const decompress = makeDecompress(OWN_LIMITS)
  const streams = new Roster<ProxiedStream>()
  /** Calls that have been let in and are not streams yet: their request is being opened. */
  let admitting = 0
  const others = new Set<PassthroughCall>()
  const idle = yield* Latch.make(true)
  const drainListeners = new Set<(draining: boolean) => void>()
  let draining = false
  let stopping = false

  /** The one number of streams: that by which one more is refused is the one that is shown and waited for. */
  const inFlight = (): number => streams.size + admitting
  const entered = (): void => {
    admitting++
    if (inFlight() === config.server.max_concurrent_streams) ready.look()
    idle.closeUnsafe()
  }
  const left = (): void => {
    if (inFlight() === config.server.max_concurrent_streams - 1) ready.look()
    if (inFlight() === 0 && others.size === 0) idle.openUnsafe()
  }
  const setDraining = (value: boolean) =>
    Effect.sync(() => {
      if (draining === value || (stopping && !value)) return
      draining = value
      if (value) arrivals.refuseAll(() => new E.Draining({ delivered: 0 }))
      ready.look()
      for (const listener of drainListeners) listener(value)
    })

  /** An ordinary path counts nothing; a very long one would break the worker's connection like metadata does. */
  const tooLarge = (call: ServerCall, metadataBytes: number): E.MetadataTooLarge | undefined => {
    const limit = config.server.max_metadata_bytes
    const bytes = metadataBytes + Math.max(0, call.path.length - ORDINARY_PATH_LENGTH)
    return bytes > limit ? new E.MetadataTooLarge({ bytes, limit }) : undefined
  }

  const { endRejected, endStream, refuse, rejected } = unadmitted(calls, reports, watchdog.now)

  const facts: AdmissionFacts = {
    connection,
    room,
    places,
    settings: config,
    draining: () => draining,
    inFlight,
    circuitMillis: breaker.openMillis
  }
  const ready = new ReadyWatch(facts, watchdog)
  onCrowd = () => ready.look()
  yield* onSettingsChange(() => {
    places.admit()
    // Limits in time may be nearer now.
    watchdog.nearer(watchdog.now())
    ready.look()
  })
  breaker.onChange(() => ready.look())
  yield* Effect.acquireRelease(
    Effect.sync(() => connection.onChange(() => ready.look())),
    (unsubscribe) => Effect.sync(unsubscribe)
  )
  const refusal = (): E.StreamError | undefined => refusalAtTheDoor(facts)?.()

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

  const finish = (call: ServerCall, stream: ProxiedStream, place: number, span: StreamSpan): Effect.Effect<void> =>
    Effect.suspend(() => {
      // Undecided only when its fiber was ended from outside.
      if (stream.end === undefined) stream.depart("cancelled")
      return stream.end === undefined ? Effect.void : meter.close(stream.tally, stream.end)
    }).pipe(
      Effect.andThen(Effect.sync(() => {
        stream.finish()
        if (stream.end !== undefined) {
          span.end(stream.tally, stream.end)
          const { outcome, status } = stream.end
          const told = { outcome, status, at: watchdog.now(), queuedMillis: stream.queuedMillis }
          reports.tell(reportOf(call, stream.tally, { ...told, exportedTraceId: span.traceId }))
        }
        streams.remove(place, stream)
        left()
      }))
    )

  /** From here on the stream counts: it has a record, whatever its end. */
  const admit = (
    call: ServerCall,
    span: StreamSpan,
    metadata: Passed["metadata"],
    identity: StreamIdentity | undefined,
    carryOn: (stream: ProxiedStream) => Effect.Effect<void>
  ): Effect.Effect<void> => {
    if (span.traceparent !== undefined) metadata["traceparent"] = span.traceparent
    if (span.root) delete metadata["tracestate"]
    const tally = meter.open()
    if (identity !== undefined) tally.identity = identity
    const stream = new ProxiedStream(call, metadata, tally, span, env)
    admitting--
    const place = streams.add(stream)
    return Effect.ensuring(carryOn(stream), finish(call, stream, place, span))
  }

  /** Ends a call that had not become a stream, in the step in which that is decided: what is true now is what it is told. */
  const endUnadmitted = (call: ServerCall, span: StreamSpan, error: E.StreamError): Effect.Effect<void> => {
    span.end(undefined, endStream(call, error))
    return Effect.void
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
    span: StreamSpan,
    metadata: Passed["metadata"],
    arrival: Arrival,
    restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>
  ): Effect.Effect<void> => {
    switch (arrival._tag) {
      case "Refused":
        return endUnadmitted(call, span, arrival.error)
      case "Rejected":
        return Effect.sync(() => {
          span.end(undefined, endRejected(call, arrival.status))
        })
      case "Arrived": {
        const { requests } = arrival
        const refused = refusal()
        if (refused !== undefined) return endUnadmitted(call, span, refused)
        entered()
        const admitted = (carryOn: typeof carry) =>
          Effect.flatMap(
            identify(requests, call),
            (identity) => admit(call, span, metadata, identity, (stream) => restore(carryOn(stream, requests)))
          )
        if (!breaker.isWatchful() || connection.link() === undefined) return admitted(carry)
        return Effect.flatMap(
          breaker.refusal,
          (open) => {
            if (open === undefined) return admitted(carryGuarded)
            admitting--
            left()
            return endUnadmitted(call, span, open)
          }
        )
      }
    }
  }

  // Uninterruptible but for the stream itself: whatever is counted here, `finish` takes back.
  const predict = (call: ServerCall): Effect.Effect<void> =>
    Effect.uninterruptibleMask((restore) => {
      metrics.streamStarted()
      const span = tracer.start(call.metadata)
      const { bytes, metadata } = pass(call.metadata)
      const refused = refusal() ?? tooLarge(call, bytes)
      if (refused !== undefined) return endUnadmitted(call, span, refused)
      return Effect.matchCauseEffect(restore(arrivals.awaitFirst(call)), {
        onFailure: () => endUnadmitted(call, span, departed(call, "cancelled", watchdog.now())),
        onSuccess: (arrival) => begin(call, span, metadata, arrival, restore)
      })
    })

  const setOthers = (): void => calls.openCalls("carried", others.size)

  /** As many calls of other methods as streams. */
  const tooManyOthers = (): E.TooManyStreams | undefined => {
    const limit = config.server.max_concurrent_streams
    return others.size + renewing >= limit ? new E.TooManyStreams({ limit }) : undefined
  }

  /** Calls of other methods that wait while the worker's connection is renewed: for one dial and one proof at most. */
  let renewing = 0
  const renewed = Effect.callback<void>((resume) => {
    renewing++
    const off = connection.onChange(() => {
      off()
      resume(Effect.void)
    })
    return Effect.sync(off)
  }).pipe(Effect.onExit(() => Effect.sync(() => void renewing--)))

  const refusalOfOther = (call: ServerCall, metadataBytes: number): E.StreamError | undefined =>
    (draining ? new E.Draining({ delivered: 0 }) : undefined) ?? tooManyOthers() ?? tooLarge(call, metadataBytes) ??
      (connection.link() === undefined ? workerUnavailable(connection) : undefined)

  const passOn = (
    call: ServerCall,
    requests: FirstMessage,
    link: WorkerLink,
    metadata: Passed["metadata"]
  ): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      const carried: PassthroughCall = new PassthroughCall(
        call,
        { idleMillis: env.firstTokenMillis, slowReaderMillis: env.slowReaderMillis },
        watchdog,
        (status) => {
          others.delete(carried)
          setOthers()
          calls.handled(call.path, status.code)
          left()
          resume(Effect.void)
        }
      )
      others.add(carried)
      setOthers()
      idle.closeUnsafe()
      carried.begin(requests, link, metadata)
      return Effect.sync(() => carried.depart("cancelled"))
    })

  const passthrough = (call: ServerCall): Effect.Effect<void> =>
    Effect.suspend(() => {
      const waits = connection.current()._tag === "Connected" && connection.link() === undefined
      return waits && tooManyOthers() === undefined ? Effect.andThen(renewed, carryOther(call)) : carryOther(call)
    })

  const carryOther = (call: ServerCall): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { bytes, metadata } = pass(call.metadata)
      const early = refusalOfOther(call, bytes)
      if (early !== undefined) return Effect.sync(() => void refuse(call, early))
      return Effect.flatMap(arrivals.awaitFirst(call), (arrival) => {
        switch (arrival._tag) {
          case "Refused":
            return Effect.sync(() => void refuse(call, arrival.error, "now"))
          case "Rejected":
            return Effect.sync(() => rejected(call, arrival.status))
          case "Arrived": {
            const link = connection.link()
            const late = refusalOfOther(call, bytes)
            return late !== undefined || link === undefined
              ? Effect.sync(() => void refuse(call, late ?? workerUnavailable(connection)))
              : passOn(call, arrival.requests, link, metadata)
          }
        }
      }).pipe(
        Effect.onInterrupt(() => Effect.sync(() => call.end(statusOf(new E.GatewayGone({ departure: "cancelled" })))))
      )
    })

  return InferenceProxy.of({
    predict,
    passthrough,
    drain: setDraining(true),
    undrain: setDraining(false),
    draining: () => draining,
    stop: Effect.andThen(Effect.sync(() => void (stopping = true)), setDraining(true)),
    stopping: () => stopping,
    onDraining: (listener) => {
      drainListeners.add(listener)
      return () => void drainListeners.delete(listener)
    },
    admission: () => admissionOf(facts),
    ready: () => isReady(admissionOf(facts), facts),
    onReady: (listener) => ready.onChange(listener),
    inFlight,
    running: () => streams.all().map((stream) => describe(stream, watchdog.now())),
    kill: (id) => {
      for (const stream of streams.all()) {
        if (stream.tally.recordId !== id) continue
        stream.fail(new E.Killed({ delivered: stream.delivered }), "now")
        return true
      }
      return false
    },
    awaitIdle: idle.await,
    abortAll: Effect.sync(() => {
      for (const stream of streams.all()) stream.fail(new E.Draining({ delivered: stream.delivered }), "now")
      for (const call of others) call.fail(new E.Draining({ delivered: 1 }), "now")
    })
  })
})

/** The path of a stream, with hold, replay, queue and circuit breaker (docs/design.md §5, §6). */
export const layer: Layer.Layer<InferenceProxy, never, Needs> = Layer.effect(InferenceProxy, make).pipe(
  Layer.provide(CircuitBreaker.layerStoreMemory())
)
