import { Effect, Latch, Layer, type Scope } from "effect"
import { CircuitBreaker } from "effect/persistence"
import { admittingHooks } from "../internal/hooks/admittingHooks.ts"
import { Roster } from "../internal/roster.ts"
import {
  type AdmissionFacts,
  admissionOf,
  isReady,
  ReadyWatch,
  refusalAtTheDoor
} from "../internal/stream/admission.ts"
import { Arrivals } from "../internal/stream/arrivals.ts"
import { describe } from "../internal/stream/describe.ts"
import * as OpeningBreaker from "../internal/stream/openingBreaker.ts"
import { passthrough } from "../internal/stream/passthrough.ts"
import { PlaceQueue } from "../internal/stream/placeQueue.ts"
import { predict } from "../internal/stream/predict.ts"
import { RequestBytes } from "../internal/stream/requestBytes.ts"
import type { StreamEnv } from "../internal/stream/streamEnv.ts"
import { peekOptions, StreamLimits } from "../internal/stream/streamLimits.ts"
import type { StreamUnderWay } from "../internal/stream/streamUnderWay.ts"
import { Tenants } from "../internal/stream/tenants.ts"
import { unadmitted } from "../internal/stream/unadmitted.ts"
import { WaitingRoom } from "../internal/stream/waitingRoom.ts"
import * as Watchdog from "../internal/stream/watchdog.ts"
import { makeDecompress, OWN_LIMITS } from "../internal/wire/decompress.ts"
import { inflater } from "../internal/wire/inflate.ts"
import { CallMetrics } from "../services/CallMetrics.ts"
import { onSettingsChange } from "../services/ConfigReload.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import { Limits } from "../services/Limits.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import * as E from "../services/StreamError.ts"
import { StreamMetrics } from "../services/StreamMetrics.ts"
import { StreamReports } from "../services/StreamReports.ts"
import { StreamTracer } from "../services/StreamTracer.ts"
import { UsageMeter } from "../services/UsageMeter.ts"
import type { ServerCall } from "../services/Wire.ts"
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
  }, config.tenants.fair_queue)
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
  const streams = new Roster<StreamUnderWay>()
  /** Calls that have been let in and are not streams yet: their request is being opened. */
  let admitting = 0
  const idle = yield* Latch.make(true)
  const drainListeners = new Set<(draining: boolean) => void>()
  let draining = false
  let stopping = false

  /** The one number of streams: that by which one more is refused is the one that is shown and waited for. */
  const inFlight = (): number => streams.size + admitting
  const left = (): void => {
    if (inFlight() === config.server.max_concurrent_streams - 1) ready.look()
    if (inFlight() === 0 && others.size() === 0) idle.openUnsafe()
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

  const turnedAway = unadmitted(calls, reports, watchdog.now)

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

  const others = passthrough({
    arrivals,
    calls,
    connection,
    draining: () => draining,
    limit: () => config.server.max_concurrent_streams,
    times: {
      get idleMillis() {
        return env.firstTokenMillis
      },
      get slowReaderMillis() {
        return env.slowReaderMillis
      }
    },
    tooLarge,
    unadmitted: turnedAway,
    watchdog,
    onBusy: (busy) => busy ? idle.closeUnsafe() : left()
  })
  const path = predict({
    env,
    arrivals,
    breaker,
    meter,
    tracer,
    reports,
    unadmitted: turnedAway,
    tenants: new Tenants(config.tenants, watchdog.now),
    decompress,
    admit: yield* admittingHooks(() => config.server.first_message_timeout_secs),
    refusal,
    tooLarge,
    streams: {
      enter: () => {
        admitting++
        if (inFlight() === config.server.max_concurrent_streams) ready.look()
        idle.closeUnsafe()
      },
      turnBack: () => {
        admitting--
        left()
      },
      begin: (stream) => {
        admitting--
        stream.place = streams.add(stream)
      },
      end: (stream) => {
        streams.remove(stream.place, stream)
        left()
      }
    }
  })

  return InferenceProxy.of({
    predict: path,
    passthrough: others.handler,
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
      for (const { limits, tally } of streams.all()) {
        if (tally.recordId !== id) continue
        limits.end(new E.Killed({ delivered: tally.chunks }))
        return true
      }
      return false
    },
    awaitIdle: idle.await,
    abortAll: Effect.sync(() => {
      for (const { limits, tally } of streams.all()) limits.end(new E.Draining({ delivered: tally.chunks }))
      others.endAll(() => new E.Draining({ delivered: 1 }))
    })
  })
})

/** The path of a stream, with hold, replay, queue and circuit breaker (docs/design.md §5, §6). */
export const layer: Layer.Layer<InferenceProxy, never, Needs> = Layer.effect(InferenceProxy, make).pipe(
  Layer.provide(CircuitBreaker.layerStoreMemory())
)
