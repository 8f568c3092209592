import { Context } from "effect"
import type { Outcome } from "./UsageRecord.ts"

/** Counts the tokens of one model: looked up once a stream, called once a batch. */
export interface ModelTokens {
  readonly add: (tokens: number) => void
}

/**
 * What the path of a stream moves. Durations are seconds; `traceId`, where there is one, is the trace that the stream belongs
 * to: an exemplar of its bucket.
 */
export class StreamMetrics extends Context.Service<StreamMetrics, {
  readonly streamStarted: () => void
  /** `sidecar_requests_success_total`, `_failed_total` or `_cancelled_total`, duration, one stream less in flight. */
  readonly streamEnded: (outcome: Outcome, seconds: number, traceId?: string) => void
  /** The counter of a model's token chunks: at most 100 models, then "other". All of them together are the total. */
  readonly modelTokens: (modelId: string) => ModelTokens
  readonly firstToken: (seconds: number, traceId?: string) => void
  readonly interToken: (seconds: number) => void
  /** What the sidecar added to a stream: from the worker's first byte to its hand-over, admission and metering. */
  readonly streamOverhead: (seconds: number) => void
  readonly cancelPropagated: (seconds: number) => void
  readonly gatewaySendError: () => void
  /** A stream has waited for a worker that was away, whatever became of it then. */
  readonly holdTime: (seconds: number, traceId?: string) => void
  /** A stream has waited for a place at the worker, whatever became of it then. */
  readonly queueTime: (seconds: number, traceId?: string) => void
  readonly heldStreams: (count: number) => void
  readonly queuedStreams: (count: number) => void
  readonly replayed: () => void
  readonly malformedFrame: () => void
  readonly circuitState: (state: "closed" | "half_open" | "open") => void
}>()("cy-llm-sidecar/StreamMetrics") {}
