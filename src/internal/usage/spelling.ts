import type { JournalRecord } from "../../services/UsageJournal.ts"
import { isMerged } from "./merge.ts"
import { recordOfValues, valuesOf } from "./sqliteRows.ts"

/** The records of a group as they are posted and kept: words, which nobody reads before somebody asks for one of them. */
export interface SpeltRecords {
  readonly rows: number
  /** Of them, those that stand for one stream. */
  readonly details: number
  readonly tokens: number
  /** The earliest `ended_at`; "" without records. */
  readonly oldest: string
  /** JSON: an array of arrays, in the order of the table's columns. */
  readonly text: string
}

/** Where its text is damaged: the same as a page of the file that is (SQLITE_CORRUPT). */
const CORRUPT = 11

export const spell = (records: ReadonlyArray<JournalRecord>): SpeltRecords => {
  const values = []
  let details = 0
  let tokens = 0
  let oldest = ""
  for (const record of records) {
    values.push(valuesOf(record))
    if (!isMerged(record)) details++
    tokens += record.tokens_generated
    if (oldest === "" || record.ended_at < oldest) oldest = record.ended_at
  }
  return { rows: records.length, details, tokens, oldest, text: JSON.stringify(values) }
}

export const read = (text: string): ReadonlyArray<JournalRecord> => {
  try {
    const values: ReadonlyArray<ReadonlyArray<string | number | null>> = JSON.parse(text)
    return values.map(recordOfValues)
  } catch {
    throw Object.assign(new Error("a group of records cannot be read"), { errcode: CORRUPT })
  }
}
