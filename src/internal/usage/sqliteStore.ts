import type { DatabaseSync } from "node:sqlite"
import type { JournalRecord, Sum } from "../../services/UsageJournal.ts"
import { noCounts } from "./counts.ts"
import { hourOf, isMerged, streamsOf, sumOf } from "./merge.ts"
import { read as readSpelt, type SpeltRecords } from "./spelling.ts"
import { makeRecordGroups } from "./sqliteGroups.ts"
import { int, openStreamOf, orNull, recordOf, type SqliteRow, storable, text, valuesOf } from "./sqliteRows.ts"
import { prepareStatements } from "./sqliteStatements.ts"
import type { TotalName, UsageStore } from "./store.ts"

/** What every commit asks, kept in memory. */
interface Standing {
  /** Records, their tokens and those in detail that wait: rows of their own, and in groups. */
  records: number
  tokens: number
  details: number
  /** Of them, what stands in groups, and is in no total yet. */
  grouped: Sum
  /** The last group that was committed, and when; where it stands in no row any more, `meta` has them. */
  sequence: number
  aliveAt: number
}

/** The store of the file's journal. `db` has the schema of `sqliteSchema.ts`. */
export const makeSqliteStore = (db: DatabaseSync): UsageStore<SpeltRecords> => {
  const groups = makeRecordGroups(db)
  const sql = prepareStatements(db)

  const count = (): Pick<Standing, "records" | "tokens" | "details" | "grouped"> => {
    const row = sql.sums.get()
    const grouped = groups.sums()
    return {
      records: int(row, "records") + grouped.records,
      tokens: int(row, "tokens") + grouped.tokens,
      details: int(row, "details") + grouped.records,
      grouped
    }
  }
  const metaNumber = (key: string): number => Number(text(sql.meta.get(key), "value"))
  const version = (): number => int(sql.version.get(), "data_version")
  const lastGroup = groups.last()
  let standing: Standing = {
    ...count(),
    sequence: Math.max(metaNumber("sequence"), lastGroup.sequence),
    aliveAt: Math.max(metaNumber("alive_at"), lastGroup.at, int(sql.counts.get(), "at"))
  }
  let seen = version()
  /** No sum on the way to `standing` was beyond 2^53, where additions lose their last digits. */
  let exact = Number.isSafeInteger(standing.tokens)

  /** So many rows more (or less, when negative), with so many tokens in all of them. */
  const change = (rows: number, tokens: number, merged: boolean): void => {
    standing.records += rows
    standing.tokens += Math.sign(rows) * tokens
    if (standing.tokens > Number.MAX_SAFE_INTEGER) exact = false
    if (!merged) standing.details += rows
  }
  const changeBy = (sign: 1 | -1, row: SqliteRow): void =>
    change(sign, int(row, "tokens_generated"), orNull(row, "merged_records") !== null)

  const addTotal = (name: TotalName, sum: Sum): void =>
    void sql.addTotal.run(name, storable(sum.records), storable(sum.tokens))

  const addRow = (record: JournalRecord): void => {
    if (sql.add.run(...valuesOf(record)).changes === 1) change(1, record.tokens_generated, isMerged(record))
  }

  /** Writes down how far this session is, where no group tells it. */
  const mark = (sequence: number, at: number): void => {
    standing.sequence = sequence
    standing.aliveAt = at
    sql.setMeta.run("sequence", String(sequence))
    sql.setMeta.run("alive_at", String(at))
  }

  /** Takes so many of the oldest records out of their groups, at most; they wait no more. */
  const leaveGroups = (limit: number): ReadonlyArray<JournalRecord> => {
    const { records, sum } = groups.take(limit)
    if (records.length === 0) return records
    const { grouped } = standing
    standing.grouped = { records: grouped.records - sum.records, tokens: grouped.tokens - sum.tokens }
    addTotal("delivered", sum)
    change(-sum.records, sum.tokens, false)
    mark(standing.sequence, standing.aliveAt)
    return records
  }

  /** So many of the oldest records in groups get rows of their own. */
  const ungroup = (limit: number): void => {
    for (const record of leaveGroups(limit)) addRow(record)
  }

  return {
    transaction: (body) => {
      sql.begin.run()
      // Somebody else wrote to the file: `sidecar usage quarantine retry`.
      const now = version()
      if (now !== seen || !exact) {
        seen = now
        standing = { ...standing, ...count() }
        exact = Number.isSafeInteger(standing.tokens)
      }
      const before = { ...standing }
      try {
        const result = body()
        sql.commit.run()
        return result
      } catch (error) {
        standing = before
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
      const { grouped } = standing
      const plus = name === "delivered" ? grouped : { records: 0, tokens: 0 }
      return { records: int(row, "records") + plus.records, tokens: int(row, "tokens") + plus.tokens }
    },
    addTotal,
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
    saveCounts: (counts, at) => {
      sql.saveCounts.run(counts, at)
      standing.aliveAt = at
    },
    open: () => {
      const blob = sql.counts.get()?.["counts"]
      return { streams: sql.open.all().map(openStreamOf), counts: blob instanceof Uint8Array ? blob : noCounts }
    },
    clearOpen: () => {
      sql.clearOpen.run()
      sql.clearCounts.run()
    },
    startSession: (session) => {
      ungroup(Infinity)
      sql.setMeta.run("session", session)
      mark(0, standing.aliveAt)
    },
    lastSequence: () => standing.sequence,
    aliveAt: () => standing.aliveAt,
    append: ({ at, closed, sequence }) => {
      if (closed.rows === 0) return mark(sequence, at)
      if (closed.details < closed.rows) {
        // Some were merged in memory, while nothing could be written.
        ungroup(Infinity)
        mark(sequence, at)
        const records = readSpelt(closed.text)
        for (const record of records) addRow(record)
        addTotal("delivered", sumOf(records))
        return
      }
      groups.append(sequence, at, closed)
      standing.sequence = sequence
      standing.aliveAt = at
      standing.grouped = {
        records: standing.grouped.records + closed.rows,
        tokens: standing.grouped.tokens + closed.tokens
      }
      change(closed.rows, closed.tokens, false)
    },
    add: (record) => {
      addRow(record)
      addTotal("delivered", sumOf([record]))
    },
    oldest: (limit) => {
      const first = sql.merged.all(limit)
      let details = sql.details.all(limit - first.length)
      const missing = limit - first.length - details.length
      if (missing > 0 && standing.grouped.records > 0) {
        ungroup(missing)
        details = sql.details.all(limit - first.length)
      }
      return [...first, ...details].map(recordOf)
    },
    takeDetails: (limit) => {
      const merged = sql.mergedDetails.all(limit)
      if (merged.length === 0) return leaveGroups(limit)
      const exact = merged.every((row) =>
        Number.isSafeInteger(int(row, "tokens_generated")) && Number.isSafeInteger(int(row, "prompt_tokens"))
      )
      if (exact) {
        sql.dropDetails.run(int(merged.at(-1), "id"))
        for (const row of merged) change(-int(row, "merged_records"), int(row, "tokens_generated"), false)
        return merged.map(recordOf)
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
    waiting: () => standing,
    setAside: (): Sum => {
      const row = sql.asideSums.get()
      return { records: int(row, "records"), tokens: int(row, "tokens") }
    },
    oldestWaitingAt: () => {
      const found = [text(sql.oldest.get(), "oldest"), groups.earliest()].filter((oldest) => oldest !== "").sort()
      const millis = Date.parse(found[0] ?? "")
      return Number.isNaN(millis) ? undefined : millis
    }
  }
}
