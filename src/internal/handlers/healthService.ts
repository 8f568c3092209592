import { Effect } from "effect"
import type { CallHandler } from "../../services/GrpcServer.ts"
import type { InferenceProxy } from "../../services/InferenceProxy.ts"
import type { Metrics } from "../../services/Metrics.ts"
import type { WorkerConnection, WorkerHealth } from "../../services/WorkerConnection.ts"
import { reasonOf } from "../connection/statusWords.ts"
import { encodeHealthResponse } from "../connection/workerRpc.ts"
import { version } from "../version.ts"
import { ownFigures } from "./controlService.ts"
import { unary, type UnaryOptions } from "./unary.ts"

export interface HealthOptions extends UnaryOptions {
  /** `[health] check_timeout_secs` in milliseconds. */
  readonly checkTimeoutMillis: number
  readonly connection: WorkerConnection["Service"]
  readonly proxy: InferenceProxy["Service"]
  readonly metrics: Metrics["Service"]
}

/**
 * A worker that does not answer in time may only be busy (its threads are shared by streams and Health): while the
 * connection still counts as Connected, its last word stands.
 */
const late = (connection: WorkerConnection["Service"]): WorkerHealth => ({
  healthy: connection.current()._tag === "Connected",
  metrics: { ...connection.lastHealth()?.metrics, reason: "HealthTimeout" }
})

/**
 * `cy.llm.AiInference/Health`: the worker's own answer with our figures added as `sidecar_*` keys. Never an error:
 * without a worker it is `healthy = false` with a `reason`.
 */
export const healthHandler = (options: HealthOptions): CallHandler => {
  const { connection, metrics, proxy } = options
  const worker = Effect.timeoutOrElse(connection.health, {
    duration: options.checkTimeoutMillis,
    orElse: () => Effect.sync(() => late(connection))
  }).pipe(
    // The shared probe has the same limit, and may be the first to say so.
    Effect.map((answer) => !answer.healthy && answer.metrics["reason"] === "HealthTimeout" ? late(connection) : answer)
  )
  return unary(options, () =>
    Effect.gen(function*() {
      const { healthy, metrics: workerMetrics } = yield* worker
      const figures = yield* metrics.figures
      const reason = healthy ? undefined : workerMetrics.reason ?? reasonOf(connection.current()) ?? "Unhealthy"
      return encodeHealthResponse({
        healthy,
        metrics: {
          ...workerMetrics,
          ...(reason === undefined ? {} : { reason }),
          ...ownFigures(figures),
          sidecar_version: version,
          sidecar_worker_state: connection.current()._tag,
          sidecar_draining: String(proxy.draining()),
          sidecar_streams_in_flight: String(proxy.inFlight())
        }
      })
    }))
}
