import type { SQLOutputValue } from "node:sqlite"
import type { JournalRecord, OpenStream } from "../../services/UsageJournal.ts"
import type { Outcome } from "../../services/UsageRecord.ts"
import { openColumns, recordColumns } from "./sqliteSchema.ts"

export type SqliteRow = Readonly<Record<string, SQLOutputValue>>

const outcomes: { readonly [K in Outcome]: K } = {
  completed: "completed",
  truncated: "truncated",
  failed: "failed",
  timeout: "timeout",
  worker_lost: "worker_lost",
  cancelled: "cancelled",
  deadline: "deadline",
  slow_reader: "slow_reader",
  drained: "drained",
  refused: "refused",
  interrupted: "interrupted"
}
const outcomeByName = new Map<string, Outcome>(Object.entries(outcomes))

/** A value that is bound to a row. */
export type RowValue = string | number | null

const asText = (value: SQLOutputValue | undefined): string => typeof value === "string" ? value : ""
const asNumber = (value: SQLOutputValue | undefined): number => Number(value ?? 0)
const asNumberOrNull = (value: SQLOutputValue | undefined): number | null =>
  value === null || value === undefined ? null : Number(value)

/** A text column; "" for NULL. */
export const text = (row: SqliteRow | undefined, column: string): string => asText(row?.[column])

/** A number column; 0 for NULL. */
export const int = (row: SqliteRow | undefined, column: string): number => asNumber(row?.[column])

export const orNull = (row: SqliteRow, column: string): number | null => asNumberOrNull(row[column])

/** The values of a record in the order of `recordColumns`. */
export const valuesOf = (record: JournalRecord): Array<RowValue> => [
  record.record_id,
  record.trace_id,
  record.model_id,
  record.adapter,
  record.tenant,
  record.player_id,
  record.prompt_chars,
  record.prompt_tokens ?? null,
  record.tokens_generated,
  record.chunks,
  record.bytes,
  record.notices,
  record.token_source,
  record.outcome,
  record.grpc_status,
  record.replays,
  record.held_ms,
  record.ttft_ms,
  record.started_at,
  record.ended_at,
  record.merged_records ?? null
]

/** The record whose values begin at `at`. */
export const recordAt = (values: ReadonlyArray<SQLOutputValue>, at: number): JournalRecord => {
  const promptTokens = asNumberOrNull(values[at + 7])
  const merged = asNumberOrNull(values[at + 20])
  const record: JournalRecord = {
    record_id: asText(values[at]),
    trace_id: asText(values[at + 1]),
    model_id: asText(values[at + 2]),
    adapter: asText(values[at + 3]),
    tenant: asText(values[at + 4]),
    player_id: asText(values[at + 5]),
    prompt_chars: asNumber(values[at + 6]),
    tokens_generated: asNumber(values[at + 8]),
    chunks: asNumber(values[at + 9]),
    bytes: asNumber(values[at + 10]),
    notices: asNumber(values[at + 11]),
    token_source: values[at + 12] === "worker" ? "worker" : "chunk",
    outcome: outcomeByName.get(asText(values[at + 13])) ?? "interrupted",
    grpc_status: asNumber(values[at + 14]),
    replays: asNumber(values[at + 15]),
    held_ms: asNumber(values[at + 16]),
    ttft_ms: asNumberOrNull(values[at + 17]),
    started_at: asText(values[at + 18]),
    ended_at: asText(values[at + 19])
  }
  if (promptTokens === null && merged === null) return record
  return {
    ...record,
    ...(promptTokens === null ? {} : { prompt_tokens: promptTokens }),
    ...(merged === null ? {} : { merged_records: merged })
  }
}

export const recordOf = (row: SqliteRow): JournalRecord =>
  recordAt(recordColumns.map((column) => row[column] ?? null), 0)

/** The values of a running stream in the order of the table's columns. */
export const openValuesOf = ({ identity, recordId, slot, startedAt }: OpenStream): Array<RowValue> => [
  slot,
  recordId,
  startedAt,
  identity?.traceId ?? "",
  identity?.modelId ?? "",
  identity?.adapter ?? "",
  identity?.tenant ?? "",
  identity?.playerId ?? "",
  identity?.promptChars ?? 0
]

/** The running stream whose values begin at `at`. */
export const openStreamAt = (values: ReadonlyArray<SQLOutputValue>, at: number): OpenStream => ({
  slot: asNumber(values[at]),
  recordId: asText(values[at + 1]),
  startedAt: asNumber(values[at + 2]),
  identity: {
    traceId: asText(values[at + 3]),
    modelId: asText(values[at + 4]),
    adapter: asText(values[at + 5]),
    tenant: asText(values[at + 6]),
    playerId: asText(values[at + 7]),
    promptChars: asNumber(values[at + 8]),
    priority: 0
  }
})

export const openStreamOf = (row: SqliteRow): OpenStream =>
  openStreamAt(openColumns.map((column) => row[column] ?? null), 0)
