import type { JournalRecord } from "../../services/UsageJournal.ts"
import { tokensOf, tokenSourceOf, type UsageEnd, type UsageTally } from "../../services/UsageMeter.ts"
import type { StreamIdentity } from "../../services/UsageRecord.ts"
import { makeIsoTime } from "./isoTime.ts"

/**
 * A tally, and what the meter knows about it. A class, as its fields lie side by side then: a checkpoint reads those of
 * all running streams.
 */
export class Tally implements UsageTally {
  // What each token moves or looks at stands together.
  frames = 0
  bytes = 0
  chunks = 0
  malformed = 0
  largeChunks = 0
  notices = 0
  ended = false
  /** Number of the stream within this process, from 1. */
  readonly slot: number
  readonly recordId: string
  readonly startedAt: number
  identity: StreamIdentity | undefined = undefined
  workerTokens: number | undefined = undefined
  promptTokens: number | undefined = undefined
  doubtedTokens: string | undefined = undefined
  doubtedPrompt: string | undefined = undefined
  replays = 0
  heldMillis = 0
  ttftMillis: number | undefined = undefined
  /** Among those that run; the meter's to write. */
  place = -1
  /** The identity has been written to the journal. */
  identified = false
  /** Bytes and replays when they were last handed to the journal: when they have moved since, the counters have. */
  handedBytes = 0
  handedReplays = 0

  constructor(slot: number, recordId: string, startedAt: number) {
    this.slot = slot
    this.recordId = recordId
    this.startedAt = startedAt
  }
}

/** Makes the record of a stream that has ended at `endedAt` (milliseconds since the epoch). */
export const makeClosedRecord = (): (tally: UsageTally, end: UsageEnd, endedAt: number) => JournalRecord => {
  const [startOf, endOf] = [makeIsoTime(), makeIsoTime()]
  return (tally, end, endedAt) => {
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
      started_at: startOf(tally.startedAt),
      ended_at: endOf(Math.max(endedAt, tally.startedAt))
    }
    return tally.promptTokens === undefined ? record : { ...record, prompt_tokens: tally.promptTokens }
  }
}
