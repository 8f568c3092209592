import { assert, beforeEach, describe, it } from "@effect/vitest"
import { DatabaseSync } from "node:sqlite"
import { makeLedger } from "../../src/internal/usage/ledger.ts"
import { spell } from "../../src/internal/usage/spelling.ts"
import { migrations } from "../../src/internal/usage/sqliteSchema.ts"
import { makeSqliteStore } from "../../src/internal/usage/sqliteStore.ts"
import { pending, summarize } from "../../src/internal/usage/summary.ts"
import { Tally } from "../../src/internal/usage/tally.ts"
import type { JournalRecord } from "../../src/services/UsageJournal.ts"
import { Settlement } from "../../src/services/UsageJournal.ts"
import { packed, record } from "../suites/usageSupport.ts"

let db: DatabaseSync
let minted = 0
let sequence = 0

const open = (limit: number, options: { readonly session?: string; readonly countMerged?: boolean } = {}) => {
  const ledger = makeLedger(makeSqliteStore(db), {
    recordId: () => `minted-${String(++minted).padStart(4, "0")}`,
    retention: { limit, countMerged: options.countMerged ?? true }
  })
  ledger.begin(options.session ?? "session", "sidecar", 0)
  const commit = (records: ReadonlyArray<JournalRecord>, number = ++sequence) =>
    ledger.commit({
      session: options.session ?? "session",
      sequence: number,
      at: 1000 * number,
      opened: [],
      ended: [],
      closed: spell(records),
      counts: undefined
    })
  return { ...ledger, commit }
}

const some = (from: number, to: number): ReadonlyArray<JournalRecord> =>
  Array.from({ length: to - from + 1 }, (_, n) => record(from + n, { id: `r-${String(from + n).padStart(4, "0")}` }))

const rows = (table: string): number => Number(db.prepare(`SELECT COUNT(*) AS rows FROM ${table}`).get()?.["rows"])

beforeEach(() => {
  db = new DatabaseSync(":memory:")
  for (const step of migrations) db.exec(step)
  minted = 0
  sequence = 0
})

describe("records that stand in groups", () => {
  it("are all there for whoever reads the table, in their order and with every field", () => {
    const { commit } = open(100)
    const whole: JournalRecord = {
      ...record(7, { id: "whole" }),
      prompt_tokens: 5,
      ttft_ms: 12,
      adapter: "a \"b\" \u00fc"
    }
    commit([whole, record(2, { id: "next" })])
    commit(some(3, 4))
    assert.strictEqual(rows("record_rows"), 0)
    assert.strictEqual(rows("record_groups"), 2)
    const seen = db.prepare("SELECT * FROM records ORDER BY id").all()
    assert.deepStrictEqual(seen.map((row) => row["record_id"]), ["whole", "next", "r-0003", "r-0004"])
    for (const [column, value] of Object.entries(whole)) assert.strictEqual(seen[0]?.[column], value, column)
    assert.strictEqual(seen[1]?.["prompt_tokens"], null)
    assert.strictEqual(seen[0]?.["place"], 0)
  })

  it("are in the balance, in what `sidecar usage` sums, and in the pending ones", () => {
    const ledger = open(100)
    ledger.commit(some(1, 10))
    const all = { records: 10, tokens: 55 }
    const { delivered, oldestWaitingAt, waiting } = ledger.balance()
    assert.deepStrictEqual({ delivered, waiting }, { delivered: all, waiting: all })
    assert.strictEqual(oldestWaitingAt, Date.parse(record(1).ended_at))
    assert.deepInclude(pending(db), { delivered: all, waiting: all, oldest: record(1).ended_at })
    assert.deepInclude(summarize(db, { by: [], sinceHour: "" })[0], { streams: 10, tokens: 55 })
  })

  it("come into batches the oldest first, once each, and the sums stay true", () => {
    const ledger = open(100)
    ledger.commit(some(1, 4))
    ledger.commit(some(5, 8))
    const tokens: Array<number> = []
    for (let batch = ledger.nextBatch(3, 0); batch !== undefined; batch = ledger.nextBatch(3, 0)) {
      tokens.push(...batch.records.map((one) => one.tokens_generated))
      ledger.settle(batch.batchId, Settlement.Acknowledged(), 0)
      const { acknowledged, delivered, waiting } = ledger.balance()
      assert.strictEqual(delivered.tokens, 36)
      assert.strictEqual(acknowledged.tokens + waiting.tokens, 36)
    }
    assert.deepStrictEqual(tokens, [1, 2, 3, 4, 5, 6, 7, 8])
    assert.strictEqual(rows("record_groups") + rows("record_rows"), 0)
  })

  it("are merged beyond the limit, exactly so many, also out of the middle of a group", () => {
    const ledger = open(10, { countMerged: false })
    ledger.commit(some(1, 7))
    ledger.commit(some(8, 14))
    const { delivered, mergedStreams, waiting } = ledger.balance()
    assert.strictEqual(mergedStreams, 4)
    assert.deepStrictEqual(delivered, { records: 14, tokens: 105 })
    assert.deepStrictEqual(waiting, { records: 11, tokens: 105 })
    const left = db.prepare("SELECT tokens_generated AS t FROM records WHERE merged_records IS NULL ORDER BY id").all()
    assert.deepStrictEqual(left.map((row) => row["t"]), [5, 6, 7, 8, 9, 10, 11, 12, 13, 14])
    // A restart finds the same.
    assert.deepStrictEqual(open(10, { countMerged: false }).balance(), ledger.balance())
  })

  it("are not written twice, by a writer that was started again neither", () => {
    const before = open(100)
    before.commit(some(1, 2))
    before.commit(some(3, 4))
    before.nextBatch(100, 0)
    const after = open(100)
    after.commit(some(1, 2), 1)
    after.commit(some(3, 4), 2)
    after.commit(some(5, 5), 3)
    assert.deepStrictEqual(after.balance().delivered, { records: 5, tokens: 15 })
  })

  it("tell the next process when this one lived last", () => {
    open(100).commit(some(1, 1), 9)
    db.exec("INSERT INTO open_streams VALUES (1, 'died', 1000, '', '', '', '', '', 0)")
    const next = open(100, { session: "next" })
    const records = next.nextBatch(100, 0)?.records ?? []
    assert.deepStrictEqual(records.map((one) => one.record_id), ["r-0001", "died"])
    assert.strictEqual(records[1]?.ended_at, new Date(9000).toISOString())
    next.commit(some(2, 2), 1)
    assert.deepStrictEqual(next.balance().delivered, { records: 3, tokens: 3 })
  })

  it("tell it no better than a checkpoint after them", () => {
    const ledger = open(100)
    ledger.commit(some(1, 1), 9)
    db.exec("INSERT INTO open_streams VALUES (1, 'died', 1000, '', '', '', '', '', 0)")
    ledger.checkpoint(packed(Object.assign(new Tally(1, "died", 1000), { chunks: 7 })), 9240)
    const died = open(100, { session: "next" }).nextBatch(100, 0)?.records.find((one) => one.record_id === "died")
    assert.deepStrictEqual([died?.chunks, died?.ended_at], [7, new Date(9240).toISOString()])
  })

  it("stay as they were when a transaction fails", () => {
    const ledger = open(100)
    ledger.commit(some(1, 2))
    const before = ledger.balance()
    db.exec("CREATE TRIGGER full BEFORE INSERT ON record_groups BEGIN SELECT RAISE(ABORT, 'full'); END")
    assert.throws(() => ledger.commit(some(3, 4), 2), /full/)
    assert.deepStrictEqual(ledger.balance(), before)
    db.exec("DROP TRIGGER full")
    ledger.commit(some(3, 4), 2)
    assert.deepStrictEqual(ledger.balance().delivered, { records: 4, tokens: 10 })
  })

  it("stand behind those that were merged in memory while nothing could be written", () => {
    const ledger = open(100)
    ledger.commit(some(1, 2))
    ledger.commit([{ ...record(30, { id: "merged" }), merged_records: 3 }, ...some(4, 4)])
    assert.deepStrictEqual(ledger.balance().delivered, { records: 6, tokens: 37 })
    assert.deepStrictEqual(ledger.balance().waiting, { records: 4, tokens: 37 })
  })

  it("that cannot be read are a damaged file", () => {
    const ledger = open(100)
    ledger.commit(some(1, 2))
    db.exec("UPDATE record_groups SET records = '[[\"r-0'")
    try {
      ledger.nextBatch(10, 0)
      assert.fail("it was read")
    } catch (error) {
      assert.deepInclude(error, { errcode: 11 })
    }
  })
})
