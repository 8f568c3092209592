import { Clock, Effect, Layer, Option } from "effect"
import { controlHandler } from "../internal/handlers/controlService.ts"
import { GRPC_HEALTH, grpcHealthRoutes } from "../internal/handlers/grpcHealthService.ts"
import { healthHandler } from "../internal/handlers/healthService.ts"
import { makeLoadReports } from "../internal/handlers/loadReport.ts"
import { withLoadReport } from "../internal/handlers/loadReportedCall.ts"
import { OPEN_RCA, orcaRoutes } from "../internal/handlers/orcaService.ts"
import * as OwnCalls from "../internal/handlers/ownCalls.ts"
import { REFLECTION_SERVICES, reflectionRoutes } from "../internal/handlers/reflectionService.ts"
import type { UnaryOptions } from "../internal/handlers/unary.ts"
import * as HealthReadings from "../internal/metrics/healthReadings.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import {
  AI_INFERENCE,
  AI_TRAINING,
  CONTROL_PATH,
  HEALTH_PATH,
  STREAM_PREDICT_PATH
} from "../internal/wire/aiContract.ts"
import { makeDecompress } from "../internal/wire/decompress.ts"
import { billingCondition } from "../services/BillingSink.ts"
import { CallMetrics } from "../services/CallMetrics.ts"
import { ConfigReload } from "../services/ConfigReload.ts"
import { type CallHandler, SidecarRoutes } from "../services/GrpcServer.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import { Limits } from "../services/Limits.ts"
import { MetricReadings } from "../services/MetricReadings.ts"
import { Metrics } from "../services/Metrics.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { eventTeller, SidecarEvents } from "../services/SidecarEvents.ts"
import { WorkerConnection } from "../services/WorkerConnection.ts"

/** The largest request of a method of our own: an order, or the name of a service or a symbol. */
const OWN_REQUEST_BYTES = 64 * 1024
/** The largest compressed one, and how many of them are opened at the same time. */
const OWN_COMPRESSED_BYTES = 16 * 1024
const OPENED_AT_ONCE = 2

/**
 * Which handler answers which path (docs/design.md §10): streams go to the proxy, Control and Health are answered or carried,
 * gRPC's own health and reflection are hosted, and whatever else there is goes to the worker as bytes, so that a newer
 * worker needs no newer sidecar.
 */
export const layer: Layer.Layer<
  SidecarRoutes,
  never,
  InferenceProxy | Metrics | CallMetrics | SidecarConfig | WorkerConnection
> = Layer.effect(
  SidecarRoutes,
  Effect.gen(function*() {
    const config = yield* SidecarConfig
    const connection = yield* WorkerConnection
    const metrics = yield* Metrics
    const calls = yield* CallMetrics
    const proxy = yield* InferenceProxy
    const events = Option.getOrUndefined(yield* Effect.serviceOption(SidecarEvents))
    const reload = Option.getOrUndefined(yield* Effect.serviceOption(ConfigReload))
    const tell = yield* eventTeller
    const billing = yield* billingCondition
    const history = () => events?.history() ?? []
    const startedAt = monotonicMillis(yield* Clock.Clock)()

    const maxMessageBytes = Math.min(OWN_REQUEST_BYTES, config.server.max_message_bytes)
    const own: UnaryOptions = {
      maxMessageBytes,
      decompress: makeDecompress({
        inBytes: Math.min(OWN_COMPRESSED_BYTES, maxMessageBytes),
        outBytes: maxMessageBytes,
        atOnce: OPENED_AT_ONCE
      }),
      calls: OwnCalls.make({
        get limit() {
          return config.server.max_own_calls
        },
        get requestMillis() {
          return config.server.first_message_timeout_secs * 1000
        },
        get readerMillis() {
          return config.server.slow_reader_timeout_secs * 1000
        },
        limits: yield* Limits,
        onSize: (size) => calls.openCalls("own", size)
      }),
      handled: calls.handled
    }
    const readings = Option.getOrUndefined(yield* Effect.serviceOption(MetricReadings))
    const health = HealthReadings.make()
    const reporting = () => config.server.load_reports
    const reports = makeLoadReports({
      now: monotonicMillis(yield* Clock.Clock),
      inFlight: proxy.inFlight,
      capacity: () => config.server.max_worker_streams || config.server.max_concurrent_streams,
      serving: () => !proxy.draining() && connection.current()._tag === "Connected",
      total: (name) => (readings?.series(name) ?? []).reduce((sum, { value }) => sum + value, 0),
      worker: () => {
        const known = connection.current()._tag === "Disconnected" ? undefined : connection.lastHealth()
        health.set(known?.metrics ?? {})
        return health.read()
      }
    })
    const checkTimeoutMillis = config.health.check_timeout_secs * 1000
    const services = [AI_INFERENCE, AI_TRAINING, GRPC_HEALTH, OPEN_RCA, ...REFLECTION_SERVICES]
    const routes = new Map<string, CallHandler>([
      [STREAM_PREDICT_PATH, withLoadReport(reports, reporting, proxy.predict)],
      [
        CONTROL_PATH,
        controlHandler({ ...own, billing, config, connection, history, metrics, proxy, reload, startedAt, tell })
      ],
      [HEALTH_PATH, healthHandler({ ...own, checkTimeoutMillis, connection, metrics, proxy })],
      ...grpcHealthRoutes({ ...own, services, proxy }),
      ...orcaRoutes({ ...own, proxy, reports, reporting, limits: yield* Limits }),
      ...(yield* reflectionRoutes(own))
    ])
    return { routes, fallback: proxy.passthrough }
  })
)
