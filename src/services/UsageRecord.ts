import { Schema } from "effect"

/** How a stream ended (docs/design.md §6). */
export const Outcome = Schema.Literals([
  "completed",
  "truncated",
  "failed",
  "timeout",
  "worker_lost",
  "cancelled",
  "deadline",
  "slow_reader",
  "drained",
  "refused",
  "interrupted"
])
export type Outcome = typeof Outcome.Type

/** Who counted the tokens: the worker in its trailers (`cy-completion-tokens`), or we, one a token chunk. */
export const TokenSource = Schema.Literals(["chunk", "worker"])
export type TokenSource = typeof TokenSource.Type

/** Who a stream is for, peeked from its first request frame; empty strings when no request came. */
export interface StreamIdentity {
  readonly traceId: string
  readonly modelId: string
  readonly adapter: string
  readonly tenant: string
  readonly playerId: string
  /** Length of the prompt in Unicode code points. */
  readonly promptChars: number
  /** Lower numbers first. */
  readonly priority: number
}

/**
 * One usage record per admitted stream, whatever its end (docs/design.md §7). Times are ISO 8601 in UTC, durations are
 * milliseconds.
 */
export const UsageRecord = Schema.Struct({
  record_id: Schema.String,
  trace_id: Schema.String,
  model_id: Schema.String,
  adapter: Schema.String,
  tenant: Schema.String,
  player_id: Schema.String,
  prompt_chars: Schema.Int,
  prompt_tokens: Schema.optionalKey(Schema.Int),
  tokens_generated: Schema.Int,
  chunks: Schema.Int,
  bytes: Schema.Int,
  notices: Schema.Int,
  token_source: TokenSource,
  outcome: Outcome,
  grpc_status: Schema.Int,
  replays: Schema.Int,
  held_ms: Schema.Int,
  ttft_ms: Schema.NullOr(Schema.Int),
  started_at: Schema.String,
  ended_at: Schema.String,
  sidecar_id: Schema.String,
  /**
   * Only in a merged record (docs/design.md §7, `offline_queue_size`): so many streams of one tenant, player, model, outcome and
   * hour. Counts and durations are sums, `ttft_ms` is null, the texts of single streams are empty.
   */
  merged_records: Schema.optionalKey(Schema.Int)
})
export type UsageRecord = typeof UsageRecord.Type
