import { Clock, Effect, Layer } from "effect"
import { AI_INFERENCE, AI_TRAINING } from "../internal/surface/aiMessages.ts"
import { controlHandler } from "../internal/surface/controlService.ts"
import { GRPC_HEALTH, grpcHealthRoutes } from "../internal/surface/grpcHealthService.ts"
import { healthHandler } from "../internal/surface/healthService.ts"
import { REFLECTION_SERVICES, reflectionRoutes } from "../internal/surface/reflectionService.ts"
import type { UnaryOptions } from "../internal/surface/unary.ts"
import { type CallHandler, SidecarRoutes } from "../services/GrpcServer.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import { Metrics } from "../services/Metrics.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { WorkerConnection } from "../services/WorkerConnection.ts"

/**
 * Which handler answers which path (design §10): streams go to the proxy, Control and Health are answered or carried,
 * gRPC's own health and reflection are hosted, and whatever else there is goes to the worker as bytes, so that a newer
 * worker needs no newer sidecar.
 */
export const layer: Layer.Layer<SidecarRoutes, never, InferenceProxy | Metrics | SidecarConfig | WorkerConnection> =
  Layer.effect(
    SidecarRoutes,
    Effect.gen(function*() {
      const config = yield* SidecarConfig
      const connection = yield* WorkerConnection
      const metrics = yield* Metrics
      const proxy = yield* InferenceProxy
      const startedAt = yield* Clock.currentTimeMillis

      const own: UnaryOptions = { maxMessageBytes: config.server.max_message_bytes, handled: metrics.handled }
      const checkTimeoutMillis = config.health.check_timeout_secs * 1000
      const services = [AI_INFERENCE, AI_TRAINING, GRPC_HEALTH, ...REFLECTION_SERVICES]
      const routes = new Map<string, CallHandler>([
        [`/${AI_INFERENCE}/StreamPredict`, proxy.predict],
        [`/${AI_INFERENCE}/Control`, controlHandler({ ...own, config, connection, metrics, proxy, startedAt })],
        [`/${AI_INFERENCE}/Health`, healthHandler({ ...own, checkTimeoutMillis, connection, metrics, proxy })],
        ...grpcHealthRoutes({ ...own, services, connection, proxy }),
        ...(yield* reflectionRoutes(own))
      ])
      return { routes, fallback: proxy.passthrough }
    })
  )
