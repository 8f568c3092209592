import { Effect, Layer } from "effect"
import { CallMetrics } from "../services/CallMetrics.ts"
import { GatewayMetrics } from "../services/GatewayMetrics.ts"
import { LimitMetrics } from "../services/LimitMetrics.ts"
import { Metrics, type Recorders } from "../services/Metrics.ts"
import { StreamMetrics } from "../services/StreamMetrics.ts"
import { UsageMetrics } from "../services/UsageMetrics.ts"
import { WorkerMetrics } from "../services/WorkerMetrics.ts"

const nothing = (): void => {}
const uncounted = { add: nothing }

/**
 * No figures: for tests, and for an application that has its own. One of the recorders can be replaced by the
 * application's: `Layer.merge(NoMetrics.layer, Layer.succeed(WorkerMetrics, mine))`.
 */
export const layer: Layer.Layer<Metrics | Recorders> = Layer.mergeAll(
  Layer.succeed(Metrics, {
    beforeReading: () => Effect.void,
    scrape: Effect.succeed({ contentType: "text/plain; version=0.0.4; charset=utf-8", body: "\n" }),
    openMetrics: Effect.succeed({
      contentType: "application/openmetrics-text; version=1.0.0; charset=utf-8",
      body: "# EOF\n"
    }),
    figures: Effect.succeed({})
  }),
  Layer.succeed(StreamMetrics, {
    streamStarted: nothing,
    streamEnded: nothing,
    modelTokens: () => uncounted,
    firstToken: nothing,
    interToken: nothing,
    streamOverhead: nothing,
    cancelPropagated: nothing,
    gatewaySendError: nothing,
    holdTime: nothing,
    queueTime: nothing,
    heldStreams: nothing,
    queuedStreams: nothing,
    replayed: nothing,
    malformedFrame: nothing,
    circuitState: nothing
  }),
  Layer.succeed(CallMetrics, { handled: nothing, openCalls: nothing, refused: nothing, metadataRejected: nothing }),
  Layer.succeed(WorkerMetrics, {
    workerState: nothing,
    workerConnectionError: nothing,
    workerReconnected: nothing,
    workerSaturated: nothing,
    workerHealth: nothing
  }),
  Layer.succeed(UsageMetrics, {
    usageRecords: nothing,
    usageTokens: nothing,
    usageSuspect: nothing,
    usageReport: nothing,
    usageLag: nothing,
    journalError: nothing
  }),
  Layer.succeed(GatewayMetrics, { gatewayConnections: nothing, http2Limited: nothing, http2SessionClosed: nothing }),
  Layer.succeed(LimitMetrics, { limitReached: nothing, unfinishedBytes: nothing, limits: nothing, opsLimited: nothing })
)
