import type { JournalRecord, Sum } from "../../services/UsageJournal.ts"

/** The hour in which a stream ended: `2026-01-31T23`. */
export const hourOf = (record: JournalRecord): string => record.ended_at.slice(0, 13)

/** Which records may become one: the same tenant, player, model, outcome and hour (docs/design.md §7). */
export const mergeKey = (record: JournalRecord): string =>
  JSON.stringify([record.tenant, record.player_id, record.model_id, record.outcome, hourOf(record)])

/** Whether two records have the same key. */
export const shareKey = (a: JournalRecord, b: JournalRecord): boolean =>
  a.tenant === b.tenant && a.player_id === b.player_id && a.model_id === b.model_id && a.outcome === b.outcome &&
  hourOf(a) === hourOf(b)

/** How many streams a record stands for. */
export const streamsOf = (record: JournalRecord): number => record.merged_records ?? 1

export const isMerged = (record: JournalRecord): boolean => record.merged_records !== undefined

/** Streams and tokens in records. */
export const sumOf = (records: Iterable<JournalRecord>): Sum => {
  let streams = 0
  let tokens = 0
  for (const record of records) {
    streams += streamsOf(record)
    tokens += record.tokens_generated
  }
  return { records: streams, tokens }
}

/** Whether the tokens of both can be one number. */
export const fits = (into: JournalRecord, record: JournalRecord): boolean =>
  into.tokens_generated + record.tokens_generated <= Number.MAX_SAFE_INTEGER &&
  (into.prompt_tokens ?? 0) + (record.prompt_tokens ?? 0) <= Number.MAX_SAFE_INTEGER

const same = (a: string, b: string): string => a === b ? a : ""

/** A merged record of one stream, with an id of its own. */
export const startMerge = (record: JournalRecord, recordId: string): JournalRecord => ({
  ...record,
  record_id: recordId,
  trace_id: "",
  ttft_ms: null,
  merged_records: streamsOf(record)
})

/** Both as one record with the id of `into`. Numbers are sums; `grpc_status` is that of the newer. */
export const merge = (into: JournalRecord, record: JournalRecord): JournalRecord => {
  const merged = {
    record_id: into.record_id,
    trace_id: into.trace_id,
    model_id: into.model_id,
    tenant: into.tenant,
    player_id: into.player_id,
    outcome: into.outcome,
    adapter: same(into.adapter, record.adapter),
    prompt_chars: into.prompt_chars + record.prompt_chars,
    tokens_generated: into.tokens_generated + record.tokens_generated,
    chunks: into.chunks + record.chunks,
    bytes: into.bytes + record.bytes,
    notices: into.notices + record.notices,
    token_source: into.token_source === record.token_source ? into.token_source : "chunk",
    grpc_status: record.grpc_status,
    replays: into.replays + record.replays,
    held_ms: into.held_ms + record.held_ms,
    ttft_ms: null,
    started_at: into.started_at < record.started_at ? into.started_at : record.started_at,
    ended_at: into.ended_at > record.ended_at ? into.ended_at : record.ended_at,
    merged_records: streamsOf(into) + streamsOf(record)
  }
  return into.prompt_tokens === undefined && record.prompt_tokens === undefined
    ? merged
    : { ...merged, prompt_tokens: (into.prompt_tokens ?? 0) + (record.prompt_tokens ?? 0) }
}
