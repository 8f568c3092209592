import { Context, type Effect, type Scope } from "effect"
import type { CallMetrics } from "./CallMetrics.ts"
import type { GatewayMetrics } from "./GatewayMetrics.ts"
import type { LimitMetrics } from "./LimitMetrics.ts"
import type { StreamMetrics } from "./StreamMetrics.ts"
import type { UsageMetrics } from "./UsageMetrics.ts"
import type { WorkerMetrics } from "./WorkerMetrics.ts"

/** What a scraper gets. */
export interface Exposition {
  readonly contentType: string
  readonly body: string
}

/**
 * The figures of docs/metrics.md, as they are read. They are moved through {@link Recorders}, one service for each part
 * that knows what happened.
 */
export class Metrics extends Context.Service<Metrics, {
  /**
   * Brings figures up to date whenever somebody is about to read them, as long as the scope is open. A reader waits for it
   * a tenth of a second at most, then reads what is there.
   */
  readonly beforeReading: (refresh: Effect.Effect<void>) => Effect.Effect<void, never, Scope.Scope>
  /** All figures in the Prometheus text format. */
  readonly scrape: Effect.Effect<Exposition>
  /** All figures in OpenMetrics 1.0, with exemplars. */
  readonly openMetrics: Effect.Effect<Exposition>
  /**
   * One figure by its metric name, for `sidecar.status`, Health and the status page: counters summed over their labels,
   * gauges with labels one by one (`sidecar_usage_tokens{state="waiting"}`).
   */
  readonly figures: Effect.Effect<Readonly<Record<string, number>>>
}>()("cy-llm-sidecar/Metrics") {}

/**
 * Who moves the figures. Every method of theirs is synchronous, allocates nothing and looks up no label on the path of a
 * token. Durations are seconds.
 */
export type Recorders = StreamMetrics | CallMetrics | WorkerMetrics | UsageMetrics | GatewayMetrics | LimitMetrics
