import type { SQLOutputValue } from "node:sqlite"
import type { JournalRecord, OpenStream } from "../../services/UsageJournal.ts"
import type { Outcome } from "../../services/UsageRecord.ts"
import { recordColumns } from "./sqliteSchema.ts"

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

/** A text column; "" for NULL. */
export const text = (row: SqliteRow | undefined, column: string): string => {
  const value = row?.[column]
  return typeof value === "string" ? value : ""
}

/** A number column; 0 for NULL. */
export const int = (row: SqliteRow | undefined, column: string): number => Number(row?.[column] ?? 0)

export const orNull = (row: SqliteRow, column: string): number | null => {
  const value = row[column]
  return value === null || value === undefined ? null : Number(value)
}

/** The largest double that is an INTEGER of SQLite: 2^63 is none. */
export const mostStorable = 2 ** 63 - 1024

/** A number as a column of whole numbers takes it: one that it refused would keep all others from being written. */
export const storable = (value: number): number =>
  Number.isSafeInteger(value) && value >= 0 ? value : Math.min(Math.max(Math.round(value) || 0, 0), mostStorable)

/** The values of a record in the order of `recordColumns`. Written out: a loop over names costs three times as much. */
export const valuesOf = (record: JournalRecord): Array<string | number | null> => [
  record.record_id,
  record.trace_id,
  record.model_id,
  record.adapter,
  record.tenant,
  record.player_id,
  storable(record.prompt_chars),
  record.prompt_tokens === undefined ? null : storable(record.prompt_tokens),
  storable(record.tokens_generated),
  storable(record.chunks),
  storable(record.bytes),
  storable(record.notices),
  record.token_source,
  record.outcome,
  storable(record.grpc_status),
  storable(record.replays),
  storable(record.held_ms),
  record.ttft_ms === null ? null : storable(record.ttft_ms),
  record.started_at,
  record.ended_at,
  record.merged_records === undefined ? null : storable(record.merged_records)
]

const countIn = (value: SQLOutputValue | undefined): number => Number(value ?? 0)
const wordIn = (value: SQLOutputValue | undefined): string => typeof value === "string" ? value : ""

/** The record of what {@link valuesOf} gives. */
export const recordOfValues = (values: ReadonlyArray<SQLOutputValue>): JournalRecord => {
  const [promptTokens, ttft, merged] = [values[7] ?? null, values[17] ?? null, values[20] ?? null]
  return {
    record_id: wordIn(values[0]),
    trace_id: wordIn(values[1]),
    model_id: wordIn(values[2]),
    adapter: wordIn(values[3]),
    tenant: wordIn(values[4]),
    player_id: wordIn(values[5]),
    prompt_chars: countIn(values[6]),
    ...(promptTokens === null ? {} : { prompt_tokens: Number(promptTokens) }),
    tokens_generated: countIn(values[8]),
    chunks: countIn(values[9]),
    bytes: countIn(values[10]),
    notices: countIn(values[11]),
    token_source: values[12] === "worker" ? "worker" : "chunk",
    outcome: outcomeByName.get(wordIn(values[13])) ?? "interrupted",
    grpc_status: countIn(values[14]),
    replays: countIn(values[15]),
    held_ms: countIn(values[16]),
    ttft_ms: ttft === null ? null : Number(ttft),
    started_at: wordIn(values[18]),
    ended_at: wordIn(values[19]),
    ...(merged === null ? {} : { merged_records: Number(merged) })
  }
}

export const recordOf = (row: SqliteRow): JournalRecord =>
  recordOfValues(recordColumns.map((column) => row[column] ?? null))

/** A row of the streams that have no end yet; their priority is not kept. */
export const openStreamOf = (row: SqliteRow): OpenStream => ({
  slot: int(row, "slot"),
  recordId: text(row, "record_id"),
  startedAt: int(row, "started_at"),
  identity: {
    traceId: text(row, "trace_id"),
    modelId: text(row, "model_id"),
    adapter: text(row, "adapter"),
    tenant: text(row, "tenant"),
    playerId: text(row, "player_id"),
    promptChars: int(row, "prompt_chars"),
    priority: 0
  }
})
