import type { DatabaseSync } from "node:sqlite"
import type { JournalRecord, Sum } from "../../services/UsageJournal.ts"
import { sumOf } from "./merge.ts"
import { read, spell, type SpeltRecords } from "./spelling.ts"
import { int, storable, text } from "./sqliteRows.ts"

/** Records that were taken out of groups. */
export interface Taken {
  /** The oldest first. */
  readonly records: ReadonlyArray<JournalRecord>
  readonly sum: Sum
}

/** The table `record_groups`: where records stand between their commit and the moment in which somebody asks for them. */
export const makeRecordGroups = (db: DatabaseSync) => {
  const sql = {
    add: db.prepare("INSERT INTO record_groups VALUES (?, ?, ?, ?, ?, ?)"),
    oldest: db.prepare("SELECT sequence, records FROM record_groups ORDER BY sequence"),
    shorten: db.prepare("UPDATE record_groups SET rows = ?, tokens = ?, oldest = ?, records = ? WHERE sequence = ?"),
    drop: db.prepare("DELETE FROM record_groups WHERE sequence <= ?"),
    sums: db.prepare("SELECT TOTAL(rows) AS records, TOTAL(tokens) AS tokens FROM record_groups"),
    last: db.prepare("SELECT MAX(sequence) AS sequence, MAX(at) AS at FROM record_groups"),
    earliest: db.prepare("SELECT MIN(oldest) AS oldest FROM record_groups")
  }
  return {
    append: (sequence: number, at: number, { oldest, rows, text, tokens }: SpeltRecords): void =>
      void sql.add.run(sequence, at, rows, storable(tokens), oldest, text),
    /** The oldest records, so many at most. */
    take: (limit: number): Taken => {
      const records: Array<JournalRecord> = []
      let last = 0
      for (const row of sql.oldest.iterate()) {
        for (const record of read(text(row, "records"))) records.push(record)
        last = int(row, "sequence")
        if (records.length >= limit) break
      }
      const left = records.splice(limit)
      if (records.length > 0) sql.drop.run(left.length > 0 ? last - 1 : last)
      if (left.length > 0) {
        const { oldest, rows, text, tokens } = spell(left)
        sql.shorten.run(rows, storable(tokens), oldest, text, last)
      }
      return { records, sum: sumOf(records) }
    },
    sums: (): Sum => {
      const row = sql.sums.get()
      return { records: int(row, "records"), tokens: int(row, "tokens") }
    },
    /** Number and moment of the last group that is there; 0 without one. */
    last: (): { readonly sequence: number; readonly at: number } => {
      const row = sql.last.get()
      return { sequence: int(row, "sequence"), at: int(row, "at") }
    },
    /** The earliest `ended_at`; "" without a group. */
    earliest: (): string => text(sql.earliest.get(), "oldest")
  }
}
