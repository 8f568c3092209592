import { Context, type Effect, type Scope } from "effect"
import type { LimitName } from "./Limits.ts"
import type { Outcome } from "./UsageRecord.ts"
import type { WorkerState } from "./WorkerConnection.ts"

/**
 * Calls beside the streams at the worker: `own` ones are answered by the sidecar itself, `carried` ones are those of a
 * method that it gives no meaning, `silent` ones have not sent a whole message yet.
 */
export type CallKind = "own" | "carried" | "silent"

/** Counts the tokens of one model: looked up once a stream, called once a batch. */
export interface ModelTokens {
  readonly add: (tokens: number) => void
}

/**
 * The figures of docs/design.md §9. Every method is synchronous, allocates nothing and looks up no label on the path of a token.
 * Durations are seconds.
 */
export class Metrics extends Context.Service<Metrics, {
  readonly streamStarted: () => void
  /** `sidecar_requests_success_total`, `_failed_total` or `_cancelled_total`, duration, one stream less in flight. */
  readonly streamEnded: (outcome: Outcome, seconds: number) => void
  /** One gRPC call of any method is over. */
  readonly handled: (method: string, code: number) => void
  /** The counter of a model's token chunks: at most 100 models, then "other". All of them together are the total. */
  readonly modelTokens: (modelId: string) => ModelTokens
  readonly firstToken: (seconds: number) => void
  readonly interToken: (seconds: number) => void
  /** What the sidecar added to a stream: from the worker's first byte to its hand-over, admission and metering. */
  readonly streamOverhead: (seconds: number) => void
  readonly cancelPropagated: (seconds: number) => void
  readonly gatewaySendError: () => void
  readonly workerState: (state: WorkerState) => void
  readonly workerConnectionError: (fault: string) => void
  readonly workerReconnected: () => void
  readonly workerSaturated: () => void
  readonly heldStreams: (count: number) => void
  readonly queuedStreams: (count: number) => void
  readonly replayed: () => void
  /** Calls of a kind that are open now. */
  readonly openCalls: (kind: CallKind, count: number) => void
  /** Bytes of messages that have begun and are not whole, over all calls, in both directions. */
  readonly unfinishedBytes: (bytes: number) => void
  /** A bound of what a peer may take was reached (`services/Limits`). */
  readonly limitReached: (limit: LimitName) => void
  readonly circuitState: (state: "closed" | "half_open" | "open") => void
  readonly metadataRejected: () => void
  readonly malformedFrame: () => void
  /** A limit of the operators' port has bitten: `connections` or `pipelined`. */
  readonly opsLimited: (limit: string) => void
  /** Open connections of gateways, those in a TLS handshake among them. */
  readonly gatewayConnections: (count: number) => void
  /** A limit of the gateways' connections has bitten. */
  readonly http2Limited: (limit: string) => void
  /** A gateway's connection is over; `code`: HTTP/2's error code in lower case, or why it never was one. */
  readonly http2SessionClosed: (code: string) => void
  /** Records by state: `open`, `waiting`, `acknowledged`, `set_aside`, `merged`. */
  readonly usageRecords: (state: string, count: number) => void
  /** Tokens by where they are: `delivered`, `waiting`, `acknowledged`, `set_aside` (the balance of docs/design.md §7). */
  readonly usageTokens: (state: string, count: number) => void
  /** Something a biller should look at in a stream that ended: `completion_tokens`, `prompt_tokens`, `large_chunk`. */
  readonly usageSuspect: (reason: string) => void
  readonly usageReport: (result: string) => void
  /** Age of the oldest record that waits, in seconds. */
  readonly usageLag: (seconds: number) => void
  readonly journalError: (operation: string) => void
  /**
   * Brings figures up to date whenever somebody is about to read them, as long as the scope is open. A reader waits for it
   * a tenth of a second at most, then reads what is there.
   */
  readonly beforeReading: (refresh: Effect.Effect<void>) => Effect.Effect<void, never, Scope.Scope>
  /** Streams in flight. */
  readonly activeStreams: () => number
  /** The exposition text and its content type. */
  readonly scrape: Effect.Effect<{ readonly contentType: string; readonly body: string }>
  /**
   * One figure by its metric name, for `sidecar.status`, Health and the status page: counters summed over their labels,
   * gauges with labels one by one (`sidecar_usage_tokens{state="waiting"}`).
   */
  readonly figures: Effect.Effect<Readonly<Record<string, number>>>
}>()("cy-llm-sidecar/Metrics") {}
