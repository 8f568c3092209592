/** `PRAGMA application_id` of a usage journal: "CYus". */
export const applicationId = 0x43597573

/** The fields of a record, in the order of the table's columns. */
export const recordColumns = [
  "record_id",
  "trace_id",
  "model_id",
  "adapter",
  "tenant",
  "player_id",
  "prompt_chars",
  "prompt_tokens",
  "tokens_generated",
  "chunks",
  "bytes",
  "notices",
  "token_source",
  "outcome",
  "grpc_status",
  "replays",
  "held_ms",
  "ttft_ms",
  "started_at",
  "ended_at",
  "merged_records"
] as const

const numbers: ReadonlySet<string> = new Set([
  "prompt_chars",
  "prompt_tokens",
  "tokens_generated",
  "chunks",
  "bytes",
  "notices",
  "grpc_status",
  "replays",
  "held_ms",
  "ttft_ms",
  "merged_records"
])

/**
 * Columns as they are read. A whole number beyond 2^53 makes `node:sqlite` throw, and whoever reads it then reads
 * nothing any more: as a double each number can be read, exact up to 2^53.
 */
export const readable = (columns: ReadonlyArray<string>): string =>
  columns.map((column) => numbers.has(column) ? `CAST(${column} AS REAL) AS ${column}` : column).join(", ")

/**
 * Step n brings a file from version n to n + 1 (`PRAGMA user_version`). A step that has been released is never changed.
 *
 * - `records.place`: 0 in the queue, 1 in a batch, 2 aside. `reason`: why it is or was aside. `merge_key`: only while a
 *   merged record grows.
 * - `checkpoint.counts`: the counters of running streams, see `counts.ts`; `at`: when they were written.
 * - `history`: what was acknowledged, by hour.
 * - `record_groups`: records as they came, a group in a row, until somebody asks for one of them: the row of a record costs ten
 *   times as much as its words. Each is JSON, an array of arrays in the order of `recordColumns`. They are younger than all in
 *   `record_rows` that wait, and are in no total yet. `records` shows both.
 */
export const migrations: ReadonlyArray<string> = [
  `CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE totals (name TEXT PRIMARY KEY, records INTEGER NOT NULL, tokens INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE open_streams (
  slot INTEGER PRIMARY KEY, record_id TEXT NOT NULL, started_at INTEGER NOT NULL, trace_id TEXT NOT NULL,
  model_id TEXT NOT NULL, adapter TEXT NOT NULL, tenant TEXT NOT NULL, player_id TEXT NOT NULL,
  prompt_chars INTEGER NOT NULL
) STRICT;
CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 1), counts BLOB NOT NULL) STRICT;
CREATE TABLE records (
  id INTEGER PRIMARY KEY,
  place INTEGER NOT NULL DEFAULT 0, batch_id TEXT, reason TEXT, merge_key TEXT,
  record_id TEXT NOT NULL UNIQUE, trace_id TEXT NOT NULL, model_id TEXT NOT NULL, adapter TEXT NOT NULL,
  tenant TEXT NOT NULL, player_id TEXT NOT NULL, prompt_chars INTEGER NOT NULL, prompt_tokens INTEGER,
  tokens_generated INTEGER NOT NULL, chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, notices INTEGER NOT NULL,
  token_source TEXT NOT NULL, outcome TEXT NOT NULL, grpc_status INTEGER NOT NULL, replays INTEGER NOT NULL,
  held_ms INTEGER NOT NULL, ttft_ms INTEGER, started_at TEXT NOT NULL, ended_at TEXT NOT NULL, merged_records INTEGER
) STRICT;
CREATE INDEX records_in_detail ON records (id) WHERE place = 0 AND merged_records IS NULL;
CREATE INDEX records_merged ON records (id) WHERE place = 0 AND merged_records IS NOT NULL;
CREATE INDEX records_in_batch ON records (batch_id, id) WHERE place = 1;
CREATE INDEX records_aside ON records (id) WHERE place = 2;
CREATE UNIQUE INDEX records_growing ON records (merge_key) WHERE merge_key IS NOT NULL;
CREATE TABLE history (
  hour TEXT NOT NULL, tenant TEXT NOT NULL, player_id TEXT NOT NULL, model_id TEXT NOT NULL, outcome TEXT NOT NULL,
  records INTEGER NOT NULL, tokens_generated INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
  chunks INTEGER NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (hour, tenant, player_id, model_id, outcome)
) STRICT, WITHOUT ROWID;`,
  `ALTER TABLE records RENAME TO record_rows;
CREATE TABLE record_groups (
  sequence INTEGER PRIMARY KEY, at INTEGER NOT NULL, rows INTEGER NOT NULL, tokens INTEGER NOT NULL, oldest TEXT NOT NULL,
  records TEXT NOT NULL
) STRICT;
CREATE VIEW records AS
  SELECT id, place, batch_id, reason, merge_key, record_id, trace_id, model_id, adapter, tenant, player_id, prompt_chars,
    prompt_tokens, tokens_generated, chunks, bytes, notices, token_source, outcome, grpc_status, replays, held_ms, ttft_ms,
    started_at, ended_at, merged_records FROM record_rows
  UNION ALL
  SELECT (1 << 52) + sequence * 1024 + key, 0, NULL, NULL, NULL, value ->> 0, value ->> 1, value ->> 2, value ->> 3,
    value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12,
    value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19, value ->> 20
  FROM record_groups, json_each(record_groups.records);`,
  "ALTER TABLE checkpoint ADD COLUMN at INTEGER NOT NULL DEFAULT 0"
]
