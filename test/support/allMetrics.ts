import { Effect } from "effect"
import { CallMetrics } from "../../src/services/CallMetrics.ts"
import { GatewayMetrics } from "../../src/services/GatewayMetrics.ts"
import { LimitMetrics } from "../../src/services/LimitMetrics.ts"
import { Metrics } from "../../src/services/Metrics.ts"
import { StreamMetrics } from "../../src/services/StreamMetrics.ts"
import { UsageMetrics } from "../../src/services/UsageMetrics.ts"
import { WorkerMetrics } from "../../src/services/WorkerMetrics.ts"

/** All who move figures, and who reads them, as one. */
export const allMetrics = Effect.gen(function*() {
  return {
    ...yield* Metrics,
    ...yield* StreamMetrics,
    ...yield* CallMetrics,
    ...yield* WorkerMetrics,
    ...yield* UsageMetrics,
    ...yield* GatewayMetrics,
    ...yield* LimitMetrics
  }
})
