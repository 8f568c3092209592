import type { DatabaseSync } from "node:sqlite"
import type { OpenStream, Sum } from "../../services/UsageJournal.ts"
import { noCounts } from "./counts.ts"
import { hourOf, isMerged, streamsOf } from "./merge.ts"
import { int, mostStorable, orNull, recordOf, type SqliteRow, storable, text, valuesOf } from "./sqliteRows.ts"
import { readable, recordColumns } from "./sqliteSchema.ts"
import type { UsageStore } from "./store.ts"

const columns = recordColumns.join(", ")
const read = readable(recordColumns)
const marks = recordColumns.map(() => "?").join(", ")
/** What a sum of a record's row needs to know of it. */
const weight = readable(["tokens_generated", "merged_records"])
/** Adds to columns; a sum that no INTEGER holds would be a REAL, which the column refuses. */
const sums = (...names: ReadonlyArray<string>): string =>
  names.map((name) => `${name} = MIN(${name} + excluded.${name}, ${BigInt(mostStorable)})`).join(", ")
/** What the records of one merge key add up to. */
const sumColumns = ["prompt_chars", "tokens_generated", "chunks", "bytes", "notices", "replays", "held_ms"] as const
/** More than there are gRPC statuses. */
const STATUSES = 1000
const assignments = recordColumns.slice(1).map((column) => `${column} = excluded.${column}`).join(", ")

const openStreamOf = (row: SqliteRow): OpenStream => ({
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

/** Rows, tokens and rows in detail that wait; kept in memory, since every commit asks. */
interface Waiting {
  records: number
  tokens: number
  details: number
}

/** The store of the file's journal. `db` has the schema of `sqliteSchema.ts`. */
export const makeSqliteStore = (db: DatabaseSync): UsageStore => {
  const sql = {
    begin: db.prepare("BEGIN IMMEDIATE"),
    commit: db.prepare("COMMIT"),
    rollback: db.prepare("ROLLBACK"),
    version: db.prepare("PRAGMA data_version"),
    meta: db.prepare("SELECT value FROM meta WHERE key = ?"),
    setMeta: db.prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"),
    total: db.prepare(
      "SELECT CAST(records AS REAL) AS records, CAST(tokens AS REAL) AS tokens FROM totals WHERE name = ?"
    ),
    addTotal: db.prepare(
      `INSERT INTO totals VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET ${sums("records", "tokens")}`
    ),
    saveOpen: db.prepare("INSERT OR REPLACE INTO open_streams VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"),
    dropOpen: db.prepare("DELETE FROM open_streams WHERE slot = ?"),
    open: db.prepare(
      `SELECT slot, record_id, CAST(started_at AS REAL) AS started_at, trace_id, model_id, adapter, tenant, player_id,
       CAST(prompt_chars AS REAL) AS prompt_chars FROM open_streams ORDER BY slot`
    ),
    clearOpen: db.prepare("DELETE FROM open_streams"),
    saveCounts: db.prepare("INSERT OR REPLACE INTO checkpoint VALUES (1, ?)"),
    counts: db.prepare("SELECT counts FROM checkpoint"),
    clearCounts: db.prepare("DELETE FROM checkpoint"),
    add: db.prepare(`INSERT INTO records (${columns}) VALUES (${marks}) ON CONFLICT (record_id) DO NOTHING`),
    details: db.prepare(
      `SELECT id, ${read} FROM records WHERE place = 0 AND merged_records IS NULL ORDER BY id LIMIT ?`
    ),
    // Whoever is merged is merged here: a thousand rows cost a third of what they do read one by one.
    mergedDetails: db.prepare(
      `SELECT MAX(id) AS id, MIN(record_id) AS record_id, COUNT(*) AS merged_records, tenant, player_id, model_id, outcome,
       '' AS trace_id, CASE WHEN MIN(adapter) = MAX(adapter) THEN MIN(adapter) ELSE '' END AS adapter,
       CASE WHEN MIN(token_source) = 'worker' THEN 'worker' ELSE 'chunk' END AS token_source,
       MAX(id * ${STATUSES} + grpc_status) % ${STATUSES} AS grpc_status,
       MIN(started_at) AS started_at, MAX(ended_at) AS ended_at,
       CASE WHEN COUNT(prompt_tokens) > 0 THEN TOTAL(prompt_tokens) END AS prompt_tokens, ${
        sumColumns.map((column) => `TOTAL(${column}) AS ${column}`).join(", ")
      } FROM (SELECT * FROM records WHERE place = 0 AND merged_records IS NULL ORDER BY id LIMIT ?)
       GROUP BY tenant, player_id, model_id, outcome, substr(ended_at, 1, 13) ORDER BY 1`
    ),
    dropDetails: db.prepare("DELETE FROM records WHERE place = 0 AND merged_records IS NULL AND id <= ?"),
    merged: db.prepare(
      `SELECT ${read} FROM records WHERE place = 0 AND merged_records IS NOT NULL ORDER BY id LIMIT ?`
    ),
    growing: db.prepare(`SELECT ${read} FROM records WHERE merge_key = ?`),
    stopGrowing: db.prepare("UPDATE records SET merge_key = NULL WHERE merge_key = ?"),
    grow: db.prepare(
      `INSERT INTO records (${columns}, merge_key) VALUES (${marks}, ?)
       ON CONFLICT (record_id) DO UPDATE SET ${assignments}`
    ),
    remove: db.prepare(`DELETE FROM records WHERE record_id = ? RETURNING place, ${weight}`),
    assign: db.prepare("UPDATE records SET place = 1, batch_id = ?, merge_key = NULL WHERE record_id = ?"),
    firstBatch: db.prepare(
      "SELECT batch_id FROM records WHERE place = 1 AND batch_id <> ? ORDER BY batch_id LIMIT 1"
    ),
    batch: db.prepare(`SELECT ${read} FROM records WHERE place = 1 AND batch_id = ? ORDER BY id`),
    doubtful: db.prepare(
      `SELECT ${read}, batch_id FROM records WHERE place < 2 AND reason IS NULL AND
       MAX(tokens_generated, COALESCE(prompt_tokens, 0)) > ? * COALESCE(merged_records, 1) ORDER BY id`
    ),
    putAside: db.prepare(
      `UPDATE records SET place = 2, batch_id = NULL, merge_key = NULL, reason = ? WHERE record_id = ? AND place <> 2
       RETURNING ${weight}`
    ),
    putBack: db.prepare(
      `UPDATE records SET place = 0 WHERE record_id = ? AND place = 2 RETURNING ${weight}`
    ),
    aside: db.prepare(`SELECT ${read}, reason FROM records WHERE place = 2 ORDER BY id`),
    sums: db.prepare(
      `SELECT COUNT(*) AS records, TOTAL(tokens_generated) AS tokens,
       COUNT(*) - COUNT(merged_records) AS details FROM records WHERE place < 2`
    ),
    asideSums: db.prepare(
      "SELECT COUNT(*) AS records, TOTAL(tokens_generated) AS tokens FROM records WHERE place = 2"
    ),
    oldest: db.prepare("SELECT MIN(ended_at) AS oldest FROM records WHERE place < 2"),
    addHistory: db.prepare(
      `INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET ${sums("records", "tokens_generated", "prompt_tokens", "chunks", "bytes")}`
    )
  }

  const count = (): Waiting => {
    const row = sql.sums.get()
    return { records: int(row, "records"), tokens: int(row, "tokens"), details: int(row, "details") }
  }
  const version = (): number => int(sql.version.get(), "data_version")
  let waiting = count()
  let seen = version()
  /** No sum on the way to `waiting` was beyond 2^53, where additions lose their last digits. */
  let exact = Number.isSafeInteger(waiting.tokens)

  /** So many rows more (or less, when negative), with so many tokens in all of them. */
  const change = (rows: number, tokens: number, merged: boolean): void => {
    waiting.records += rows
    waiting.tokens += Math.sign(rows) * tokens
    if (waiting.tokens > Number.MAX_SAFE_INTEGER) exact = false
    if (!merged) waiting.details += rows
  }
  const changeBy = (sign: 1 | -1, row: SqliteRow): void =>
    change(sign, int(row, "tokens_generated"), orNull(row, "merged_records") !== null)

  return {
    transaction: (body) => {
      sql.begin.run()
      // Somebody else wrote to the file: `sidecar usage quarantine retry`.
      const now = version()
      if (now !== seen || !exact) {
        seen = now
        waiting = count()
        exact = Number.isSafeInteger(waiting.tokens)
      }
      const before = { ...waiting }
      try {
        const result = body()
        sql.commit.run()
        return result
      } catch (error) {
        waiting = before
        if (db.isTransaction) sql.rollback.run()
        throw error
      }
    },
    meta: (key) => {
      const row = sql.meta.get(key)
      return row === undefined ? undefined : text(row, "value")
    },
    setMeta: (key, value) => void sql.setMeta.run(key, value),
    total: (name) => {
      const row = sql.total.get(name)
      return { records: int(row, "records"), tokens: int(row, "tokens") }
    },
    addTotal: (name, sum) => void sql.addTotal.run(name, storable(sum.records), storable(sum.tokens)),
    saveOpen: (streams) => {
      for (const { identity, recordId, slot, startedAt } of streams) {
        sql.saveOpen.run(
          slot,
          recordId,
          startedAt,
          identity?.traceId ?? "",
          identity?.modelId ?? "",
          identity?.adapter ?? "",
          identity?.tenant ?? "",
          identity?.playerId ?? "",
          identity?.promptChars ?? 0
        )
      }
    },
    dropOpen: (slots) => {
      for (const slot of slots) sql.dropOpen.run(slot)
    },
    saveCounts: (counts) => void sql.saveCounts.run(counts),
    open: () => {
      const blob = sql.counts.get()?.["counts"]
      return { streams: sql.open.all().map(openStreamOf), counts: blob instanceof Uint8Array ? blob : noCounts }
    },
    clearOpen: () => {
      sql.clearOpen.run()
      sql.clearCounts.run()
    },
    add: (record) => {
      if (sql.add.run(...valuesOf(record)).changes === 1) change(1, record.tokens_generated, isMerged(record))
    },
    oldest: (limit) => {
      const first = sql.merged.all(limit)
      return [...first, ...sql.details.all(limit - first.length)].map(recordOf)
    },
    takeDetails: (limit) => {
      const groups = sql.mergedDetails.all(limit)
      const exact = groups.every((row) =>
        Number.isSafeInteger(int(row, "tokens_generated")) && Number.isSafeInteger(int(row, "prompt_tokens"))
      )
      if (exact) {
        sql.dropDetails.run(int(groups.at(-1), "id"))
        for (const row of groups) change(-int(row, "merged_records"), int(row, "tokens_generated"), false)
        return groups.map(recordOf)
      }
      const rows = sql.details.all(limit)
      // One statement for all of them: one each would cost as much as their merging.
      sql.dropDetails.run(int(rows.at(-1), "id"))
      for (const row of rows) changeBy(-1, row)
      return rows.map(recordOf)
    },
    growing: (key) => {
      const row = sql.growing.get(key)
      return row === undefined ? undefined : recordOf(row)
    },
    grow: (key, record) => {
      const row = sql.growing.get(key)
      if (row !== undefined) {
        if (text(row, "record_id") === record.record_id) changeBy(-1, row)
        else sql.stopGrowing.run(key)
      }
      sql.grow.run(...valuesOf(record), key)
      change(1, record.tokens_generated, true)
    },
    remove: (recordIds) => {
      for (const recordId of recordIds) {
        const row = sql.remove.get(recordId)
        if (row !== undefined && int(row, "place") < 2) changeBy(-1, row)
      }
    },
    assign: (recordIds, batchId) => {
      for (const recordId of recordIds) sql.assign.run(batchId, recordId)
    },
    firstBatch: (except) => {
      const row = sql.firstBatch.get(except ?? "")
      return row === undefined ? undefined : text(row, "batch_id")
    },
    batch: (batchId) => sql.batch.all(batchId).map(recordOf),
    putAside: (recordIds, reason) => {
      for (const recordId of recordIds) {
        const row = sql.putAside.get(reason, recordId)
        if (row !== undefined) changeBy(-1, row)
      }
    },
    putBack: (recordIds) => {
      const chosen = recordIds ?? sql.aside.all().map((row) => text(row, "record_id"))
      let moved = 0
      for (const recordId of chosen) {
        const row = sql.putBack.get(recordId)
        if (row === undefined) continue
        changeBy(1, row)
        moved++
      }
      return moved
    },
    doubtful: (most) =>
      sql.doubtful.all(most).map((row) => ({
        record: recordOf(row),
        batchId: row["batch_id"] === null ? undefined : text(row, "batch_id")
      })),
    aside: () => sql.aside.all().map((row) => ({ record: recordOf(row), reason: text(row, "reason") })),
    addHistory: (records) => {
      for (const record of records) {
        sql.addHistory.run(
          hourOf(record),
          record.tenant,
          record.player_id,
          record.model_id,
          record.outcome,
          storable(streamsOf(record)),
          storable(record.tokens_generated),
          storable(record.prompt_tokens ?? 0),
          storable(record.chunks),
          storable(record.bytes)
        )
      }
    },
    waiting: () => waiting,
    setAside: (): Sum => {
      const row = sql.asideSums.get()
      return { records: int(row, "records"), tokens: int(row, "tokens") }
    },
    oldestWaitingAt: () => {
      const oldest = text(sql.oldest.get(), "oldest")
      const millis = Date.parse(oldest)
      return Number.isNaN(millis) ? undefined : millis
    }
  }
}
