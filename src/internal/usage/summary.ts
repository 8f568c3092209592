import type { DatabaseSync } from "node:sqlite"
import type { Sum } from "../../services/UsageJournal.ts"
import { int, type SqliteRow, text } from "./sqliteRows.ts"

/** What usage can be summed by, and the column it has in the journal. */
const columnOf = {
  model: "model_id",
  tenant: "tenant",
  player: "player_id",
  outcome: "outcome",
  hour: "hour"
} as const

export type Dimension = keyof typeof columnOf

const order: ReadonlyArray<Dimension> = ["hour", "tenant", "player", "model", "outcome"]

/** The dimension of that name. */
export const dimensionOf = (name: string): Dimension | undefined => order.find((dimension) => dimension === name)

export const dimensions: ReadonlyArray<Dimension> = order

/** One line of `sidecar usage`. `keys`: the value of each dimension that was asked for. */
export interface UsageLine {
  readonly keys: ReadonlyArray<string>
  readonly streams: number
  readonly tokens: number
  readonly promptTokens: number
  readonly chunks: number
  readonly bytes: number
}

const lineOf = (by: ReadonlyArray<Dimension>) => (row: SqliteRow): UsageLine => ({
  keys: by.map((dimension) => text(row, columnOf[dimension])),
  streams: int(row, "streams"),
  tokens: int(row, "tokens"),
  promptTokens: int(row, "prompt_tokens"),
  chunks: int(row, "chunks"),
  bytes: int(row, "bytes")
})

/**
 * What was delivered since an hour (`2026-01-31T23`, "" for ever), whether it waits, is acknowledged or set aside. Sums
 * of hours: what was acknowledged is kept by the hour.
 */
export const summarize = (
  db: DatabaseSync,
  options: { readonly by: ReadonlyArray<Dimension>; readonly sinceHour: string }
): ReadonlyArray<UsageLine> => {
  const columns = options.by.map((dimension) => columnOf[dimension])
  const grouped = columns.length === 0 ? "" : `GROUP BY ${columns.join(", ")}`
  const sorted = options.by.includes("hour") ? "hour, tokens DESC" : "tokens DESC"
  return db.prepare(
    `SELECT ${[...columns, ""].join(", ")} TOTAL(streams) AS streams, TOTAL(tokens) AS tokens,
       TOTAL(prompt_tokens) AS prompt_tokens, TOTAL(chunks) AS chunks, TOTAL(bytes) AS bytes
     FROM (
       SELECT hour, tenant, player_id, model_id, outcome, records AS streams, tokens_generated AS tokens,
         prompt_tokens, chunks, bytes
       FROM history
       UNION ALL
       SELECT substr(ended_at, 1, 13), tenant, player_id, model_id, outcome, COALESCE(merged_records, 1),
         tokens_generated, COALESCE(prompt_tokens, 0), chunks, bytes
       FROM records
     ) WHERE hour >= ? ${grouped} ORDER BY ${sorted}`
  ).all(options.sinceHour).map(lineOf(options.by))
}

/** What `sidecar usage pending` shows. */
export interface Pending {
  readonly sidecarId: string
  /** Streams that run, as of their last checkpoint's rows. */
  readonly running: number
  /** Rows that wait, those in a report among them; a merged record is one. */
  readonly waiting: Sum
  readonly inReport: Sum
  readonly setAside: Sum
  /** Streams. */
  readonly acknowledged: Sum
  readonly delivered: Sum
  readonly mergedStreams: number
  /** ISO 8601; "" when nothing waits. */
  readonly oldest: string
}

const plus = (a: Sum, b: Sum): Sum => ({ records: a.records + b.records, tokens: a.tokens + b.tokens })

/** Where everything is, in one read of the journal. */
export const pending = (db: DatabaseSync): Pending => {
  const sum = (sql: string): Sum => {
    const row = db.prepare(sql).get()
    return { records: int(row, "records"), tokens: int(row, "tokens") }
  }
  const rows = (where: string) =>
    sum(`SELECT COUNT(*) AS records, TOTAL(tokens_generated) AS tokens FROM records WHERE ${where}`)
  const total = (name: string) =>
    sum(`SELECT CAST(records AS REAL) AS records, CAST(tokens AS REAL) AS tokens FROM totals WHERE name = '${name}'`)
  db.exec("BEGIN")
  try {
    return {
      sidecarId: text(db.prepare("SELECT value FROM meta WHERE key = 'sidecar_id'").get(), "value"),
      running: int(db.prepare("SELECT COUNT(*) AS streams FROM open_streams").get(), "streams"),
      waiting: rows("place < 2"),
      inReport: rows("place = 1"),
      setAside: rows("place = 2"),
      acknowledged: total("acknowledged"),
      delivered: plus(
        total("delivered"),
        sum("SELECT TOTAL(rows) AS records, TOTAL(tokens) AS tokens FROM record_groups")
      ),
      mergedStreams: total("merged").records,
      oldest: text(db.prepare("SELECT MIN(ended_at) AS oldest FROM records WHERE place < 2").get(), "oldest")
    }
  } finally {
    db.exec("COMMIT")
  }
}
