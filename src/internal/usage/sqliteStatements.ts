import type { DatabaseSync } from "node:sqlite"
import { mostStorable } from "./sqliteRows.ts"
import { readable, recordColumns } from "./sqliteSchema.ts"

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

/** The statements of the file's store, each prepared once. */
export const prepareStatements = (db: DatabaseSync) => ({
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
  saveCounts: db.prepare("INSERT OR REPLACE INTO checkpoint VALUES (1, ?, ?)"),
  counts: db.prepare("SELECT counts, CAST(at AS REAL) AS at FROM checkpoint"),
  clearCounts: db.prepare("DELETE FROM checkpoint"),
  add: db.prepare(`INSERT INTO record_rows (${columns}) VALUES (${marks}) ON CONFLICT (record_id) DO NOTHING`),
  details: db.prepare(
    `SELECT id, ${read} FROM record_rows WHERE place = 0 AND merged_records IS NULL ORDER BY id LIMIT ?`
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
    } FROM (SELECT * FROM record_rows WHERE place = 0 AND merged_records IS NULL ORDER BY id LIMIT ?)
     GROUP BY tenant, player_id, model_id, outcome, substr(ended_at, 1, 13) ORDER BY 1`
  ),
  dropDetails: db.prepare("DELETE FROM record_rows WHERE place = 0 AND merged_records IS NULL AND id <= ?"),
  merged: db.prepare(
    `SELECT ${read} FROM record_rows WHERE place = 0 AND merged_records IS NOT NULL ORDER BY id LIMIT ?`
  ),
  growing: db.prepare(`SELECT ${read} FROM record_rows WHERE merge_key = ?`),
  stopGrowing: db.prepare("UPDATE record_rows SET merge_key = NULL WHERE merge_key = ?"),
  grow: db.prepare(
    `INSERT INTO record_rows (${columns}, merge_key) VALUES (${marks}, ?)
     ON CONFLICT (record_id) DO UPDATE SET ${assignments}`
  ),
  remove: db.prepare(`DELETE FROM record_rows WHERE record_id = ? RETURNING place, ${weight}`),
  assign: db.prepare("UPDATE record_rows SET place = 1, batch_id = ?, merge_key = NULL WHERE record_id = ?"),
  firstBatch: db.prepare(
    "SELECT batch_id FROM record_rows WHERE place = 1 AND batch_id <> ? ORDER BY batch_id LIMIT 1"
  ),
  batch: db.prepare(`SELECT ${read} FROM record_rows WHERE place = 1 AND batch_id = ? ORDER BY id`),
  doubtful: db.prepare(
    `SELECT ${read}, batch_id FROM record_rows WHERE place < 2 AND reason IS NULL AND
     MAX(tokens_generated, COALESCE(prompt_tokens, 0)) > ? * COALESCE(merged_records, 1) ORDER BY id`
  ),
  putAside: db.prepare(
    `UPDATE record_rows SET place = 2, batch_id = NULL, merge_key = NULL, reason = ? WHERE record_id = ? AND place <> 2
     RETURNING ${weight}`
  ),
  putBack: db.prepare(
    `UPDATE record_rows SET place = 0 WHERE record_id = ? AND place = 2 RETURNING ${weight}`
  ),
  aside: db.prepare(`SELECT ${read}, reason FROM record_rows WHERE place = 2 ORDER BY id`),
  sums: db.prepare(
    `SELECT COUNT(*) AS records, TOTAL(tokens_generated) AS tokens,
     COUNT(*) - COUNT(merged_records) AS details FROM record_rows WHERE place < 2`
  ),
  asideSums: db.prepare(
    "SELECT COUNT(*) AS records, TOTAL(tokens_generated) AS tokens FROM record_rows WHERE place = 2"
  ),
  oldest: db.prepare("SELECT MIN(ended_at) AS oldest FROM record_rows WHERE place < 2"),
  addHistory: db.prepare(
    `INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET ${sums("records", "tokens_generated", "prompt_tokens", "chunks", "bytes")}`
  )
})
