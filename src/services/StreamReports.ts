import { Context, type Effect, type Scope } from "effect"
import type { Outcome } from "./UsageRecord.ts"

/**
 * What is known of one StreamPredict call when it is over, refused ones among them. The one value from which metrics, an
 * access log and whoever subscribes are fed, so that all of them tell the same story. Durations are milliseconds by the
 * monotonic clock; identifiers are empty strings where no request came.
 */
export interface StreamReport {
  readonly outcome: Outcome
  /** The `cy-reason` that the gateway got; empty: none, as for OK and a worker's own status. */
  readonly reason: string
  /** The gRPC status code that the gateway got. */
  readonly code: number
  /** `/package.Service/Method`. */
  readonly path: string
  /** Of the usage record; `undefined`: refused before it became a stream, so there is none. */
  readonly recordId: string | undefined
  readonly traceId: string
  /** The trace in which it is exported, 32 hexadecimal digits; `undefined`: in none. */
  readonly exportedTraceId: string | undefined
  readonly model: string
  readonly adapter: string
  readonly tenant: string
  readonly playerId: string
  /** Address of the gateway: `127.0.0.1:4711`, `unix`, `in process`. */
  readonly peer: string
  /** Tokens that were generated, as the record has them. */
  readonly tokens: number
  /** Bytes of reply messages that were handed to the gateway, without prefixes. */
  readonly bytes: number
  /** From arrival to the first token. */
  readonly ttftMillis: number | undefined
  /** Waited for a worker that was away. */
  readonly heldMillis: number
  /** Waited for a place at the worker. */
  readonly queuedMillis: number
  /** From the arrival of the call's headers to its end. */
  readonly durationMillis: number
  /** How often it was sent to a worker again. */
  readonly replays: number
}

/**
 * Where every stream's end is told, once each. Synchronous: a subscriber that has more to do than to note it hands it on.
 *
 * Implementation: `layers/ReportFanout`.
 */
export class StreamReports extends Context.Service<StreamReports, {
  readonly tell: (report: StreamReport) => void
  /** Hears every report from now on, as long as the scope is open. */
  readonly subscribe: (listener: (report: StreamReport) => void) => Effect.Effect<void, never, Scope.Scope>
}>()("cy-llm-sidecar/StreamReports") {}
