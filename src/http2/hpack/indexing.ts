import { type EncoderTable, entrySize, type NameRecord } from "./EncoderTable.ts"

/** How a field that stands in no table is sent (RFC 7541 §6.2). */
export type Indexing = "incremental" | "without" | "never"

/** Decides for one field; it may look at the table, and use its memory. */
export type IndexingPolicy = (record: NameRecord, value: string, table: EncoderTable) => Indexing

/**
 * Fields of which a connection sees few values many times: they enter the table at their first sight. The others have to
 * come twice.
 */
const STEADY_NAMES: ReadonlySet<string> = new Set([
  ":authority",
  ":method",
  ":path",
  ":scheme",
  ":status",
  "content-type",
  "grpc-accept-encoding",
  "grpc-encoding",
  "grpc-status",
  "te",
  "user-agent"
])

/** An entry must leave room for this many of its size: a table of one large value serves nobody. */
const ENTRIES_A_TABLE = 4

/**
 * Indexes what repeats, by itself: a value that was among the last few of its name is worth an entry, a value that is new
 * each time (a request id, a time-out) never pushes the others out. Secrets are never indexed.
 */
export const indexWhatRepeats: IndexingPolicy = (record, value, table) => {
  if (record.secret) return "never"
  if (entrySize(record.name, value) * ENTRIES_A_TABLE > table.capacity) return "without"
  return STEADY_NAMES.has(record.name) || table.sentLately(record, value) ? "incremental" : "without"
}
