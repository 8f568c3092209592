import type { JournalRecord } from "../../services/UsageJournal.ts"
import { noReplies, tokensOf, tokenSourceOf, type UsageEnd, type UsageTally } from "../../services/UsageMeter.ts"

/** A tally, and what the meter knows about it. */
export interface Tally extends UsageTally {
  /** Number of the stream within this process, from 1. */
  readonly slot: number
  /** The identity has been written to the journal. */
  identified: boolean
  /** Bytes and replays at the last checkpoint: when they have moved, the counters have. */
  savedBytes: number
  savedReplays: number
}

export const makeTally = (slot: number, recordId: string, startedAt: number): Tally => ({
  ...noReplies(),
  slot,
  recordId,
  startedAt,
  identity: undefined,
  workerTokens: undefined,
  promptTokens: undefined,
  replays: 0,
  heldMillis: 0,
  ttftMillis: undefined,
  identified: false,
  savedBytes: 0,
  savedReplays: 0
})

/** The record of a stream that has ended at `endedAt` (milliseconds since the epoch). */
export const closedRecord = (tally: UsageTally, end: UsageEnd, endedAt: number): JournalRecord => {
  const { identity } = tally
  const record = {
    record_id: tally.recordId,
    trace_id: identity?.traceId ?? "",
    model_id: identity?.modelId ?? "",
    adapter: identity?.adapter ?? "",
    tenant: identity?.tenant ?? "",
    player_id: identity?.playerId ?? "",
    prompt_chars: identity?.promptChars ?? 0,
    tokens_generated: tokensOf(tally),
    chunks: tally.chunks,
    bytes: tally.bytes,
    notices: tally.notices,
    token_source: tokenSourceOf(tally),
    outcome: end.outcome,
    grpc_status: end.grpcStatus,
    replays: tally.replays,
    held_ms: Math.round(tally.heldMillis),
    ttft_ms: tally.ttftMillis === undefined ? null : Math.round(tally.ttftMillis),
    started_at: new Date(tally.startedAt).toISOString(),
    ended_at: new Date(Math.max(endedAt, tally.startedAt)).toISOString()
  }
  return tally.promptTokens === undefined ? record : { ...record, prompt_tokens: tally.promptTokens }
}
