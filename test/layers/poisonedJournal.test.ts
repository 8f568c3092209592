import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { makeCountsPacker } from "../../src/internal/usage/counts.ts"
import { applicationId, migrations, recordColumns } from "../../src/internal/usage/sqliteSchema.ts"
import { pending, summarize } from "../../src/internal/usage/summary.ts"
import { Tally } from "../../src/internal/usage/tally.ts"
import * as SqliteJournal from "../../src/layers/SqliteJournal.ts"
import { type JournalRecord, Settlement, UsageJournal } from "../../src/services/UsageJournal.ts"
import { configLayer, figuresLayer, type MeteringOptions, record } from "../suites/usageSupport.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "usage-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const open = (path: string, metering: MeteringOptions = {}) =>
  Effect.map(
    Layer.build(Layer.fresh(SqliteJournal.layer.pipe(
      Layer.provideMerge(figuresLayer),
      Layer.provide(configLayer({ billing_endpoint: "http://billing.test", ...metering, journal_path: path }))
    ))),
    (context) => Context.get(context, UsageJournal)
  )

/** What the first versions believed of a worker: fifteen digits. */
const absurd = 999_999_999_999_999

const absurdly = (id: string): JournalRecord => ({
  ...record(3, { id }),
  tokens_generated: absurd,
  token_source: "worker"
})

interface Row {
  readonly record: JournalRecord
  readonly batch?: string
  readonly mergeKey?: string
}

/** A journal as the first versions left it, with these rows. Counts beyond 2^53 are written as they were: by SQL. */
const poisoned = (path: string, rows: ReadonlyArray<Row>, more: (db: DatabaseSync) => void = () => undefined): void => {
  const db = new DatabaseSync(path)
  db.exec("PRAGMA journal_mode = WAL")
  db.exec(migrations[0]!)
  db.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = 1`)
  db.exec(
    "INSERT INTO meta VALUES ('sidecar_id', 'old-host'), ('session', 'old'), ('sequence', '7'), ('alive_at', '5000')"
  )
  const add = db.prepare(
    `INSERT INTO records (place, batch_id, merge_key, ${recordColumns.join(", ")})
     VALUES (?, ?, ?, ${recordColumns.map(() => "?").join(", ")})`
  )
  for (const { batch, mergeKey, record } of rows) {
    add.run(
      batch === undefined ? 0 : 1,
      batch ?? null,
      mergeKey ?? null,
      ...recordColumns.map((column) => record[column] ?? null)
    )
  }
  db.exec(`INSERT INTO totals SELECT 'delivered', SUM(COALESCE(merged_records, 1)), SUM(tokens_generated) FROM records`)
  more(db)
  db.close()
}

/** Acknowledges all that waits; answers the batches. */
const drain = Effect.fnUntraced(function*(journal: UsageJournal["Service"]) {
  const batches = []
  for (;;) {
    const batch = yield* journal.nextBatch(500)
    if (batch === undefined) return batches
    batches.push(batch)
    yield* journal.settle(batch.batchId, Settlement.Acknowledged())
  }
})

const read = <A>(path: string, use: (db: DatabaseSync) => A): A => {
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    return use(db)
  } finally {
    db.close()
  }
}

describe("a journal with counts that no worker can mean", () => {
  it.live("opens, reports what can be reported, and sets the rest aside with words", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "usage.sqlite")
      const good = Array.from({ length: 20 }, (_, index) => record(index + 1))
      const bad = Array.from({ length: 10 }, (_, index) => absurdly(`bad-${index}`))
      poisoned(path, [...good, ...bad].map((one) => ({ record: one })))
      const journal = yield* open(path)
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
      const sent = (yield* drain(journal)).flatMap(({ records }) => records)
      assert.deepStrictEqual(sent.map((one) => one.record_id), good.map((one) => one.record_id))
      const aside = yield* journal.setAside
      assert.deepStrictEqual(aside.map((one) => one.record.record_id), bad.map((one) => one.record_id))
      for (const { reason } of aside) assert.match(reason, /^tokens_generated 999999999999999 is more than/)
      const balance = yield* journal.balance
      assert.deepStrictEqual(balance.acknowledged, { records: 20, tokens: 210 })
      assert.deepStrictEqual(balance.waiting, { records: 0, tokens: 0 })
      assert.deepStrictEqual(balance.setAside, { records: 10, tokens: 10 * absurd })
      // Beyond 2^53 a double is exact to two.
      assert.closeTo(balance.delivered.tokens, 10 * absurd + 210, 4)
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
    }).pipe(Effect.scoped))

  it.live("gives what is left of a batch a new id, as a batch never changes", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "usage.sqlite")
      const rest = [record(1), record(2)]
      const untouched = record(4)
      poisoned(path, [
        { record: rest[0]!, batch: "a" },
        { record: absurdly("bad"), batch: "a" },
        { record: rest[1]!, batch: "a" },
        { record: absurdly("alone"), batch: "b" },
        { record: untouched, batch: "c" }
      ])
      const batches = yield* drain(yield* open(path))
      const ids = batches.map(({ batchId }) => batchId)
      assert.notInclude(ids, "a")
      assert.notInclude(ids, "b")
      assert.include(ids, "c")
      assert.deepStrictEqual(
        batches.map(({ records }) => records.map((one) => one.record_id)).toSorted((a, b) => a.length - b.length),
        [[untouched.record_id], rest.map((one) => one.record_id)]
      )
    }).pipe(Effect.scoped))

  it.live("reads sums and merged records that are beyond what a number of JavaScript counts", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "usage.sqlite")
      const merged = { ...absurdly("merged"), merged_records: 11 }
      const good = record(6)
      poisoned(path, [{ record: merged, mergeKey: "growing" }, { record: good }], (db) => {
        db.exec("UPDATE records SET tokens_generated = 10999999999999989 WHERE record_id = 'merged'")
        db.exec("UPDATE totals SET tokens = 9223372036854775800")
        db.exec("INSERT INTO totals VALUES ('acknowledged', 9007199254740993, 9223372036854775807)")
        db.exec(
          "INSERT INTO history VALUES ('2026-01-01T00', 't', 'p', 'm', 'completed', 1, 9223372036854775807, 0, 1, 1)"
        )
        db.exec(
          "INSERT INTO history VALUES ('2026-01-01T01', 't', 'p', 'm', 'completed', 1, 9223372036854775807, 0, 1, 1)"
        )
      })
      const journal = yield* open(path)
      const sent = (yield* drain(journal)).flatMap(({ records }) => records)
      assert.deepStrictEqual(sent.map((one) => one.record_id), [good.record_id])
      yield* journal.closed(1, record(50))
      assert.deepStrictEqual((yield* drain(journal))[0]?.records.map((one) => one.tokens_generated), [50])
      const [aside] = yield* journal.setAside
      assert.closeTo(aside!.record.tokens_generated, 10_999_999_999_999_988, 2)
      assert.deepStrictEqual((yield* journal.balance).waiting, { records: 0, tokens: 0 })
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
      assert.isAbove(read(path, pending).delivered.tokens, 9e18)
      const [line] = read(path, (db) => summarize(db, { by: ["tenant"], sinceHour: "" }))
      assert.isAbove(line!.tokens, 1.8e19)
    }).pipe(Effect.scoped))

  it.live("counts a stream that died by its chunks when its last checkpoint has such a count", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "usage.sqlite")
      const tally = new Tally(1, "died", 1000)
      tally.chunks = 4
      tally.workerTokens = absurd
      tally.promptTokens = absurd
      const packer = makeCountsPacker()
      packer.add(tally)
      poisoned(path, [{ record: record(1) }], (db) => {
        db.exec("INSERT INTO open_streams VALUES (1, 'died', 1000, '', '', '', '', '', 0)")
        db.prepare("INSERT INTO checkpoint VALUES (1, ?)").run(packer.take())
      })
      const sent = (yield* drain(yield* open(path))).flatMap(({ records }) => records)
      const died = sent.find((one) => one.record_id === "died")
      assert.deepStrictEqual([died?.tokens_generated, died?.token_source, died?.prompt_tokens], [4, "chunk", undefined])
      // That version told in `meta` when it lived last.
      assert.strictEqual(died?.ended_at, new Date(5000).toISOString())
    }).pipe(Effect.scoped))

  it.live("sends a record as it is that an operator sends again, after the next start too", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "usage.sqlite")
      poisoned(path, Array.from({ length: 12 }, (_, index) => ({ record: absurdly(`bad-${index}`) })))
      yield* Effect.scoped(
        Effect.flatMap(
          open(path),
          (journal) => Effect.map(journal.retrySetAside(), (moved) => assert.strictEqual(moved, 12))
        )
      )
      // Few may wait in detail: as merged records none of them may be more than a number can count.
      const journal = yield* open(path, { offline_queue_size: 2 })
      yield* journal.closed(1, record(5))
      const sent = (yield* drain(journal)).flatMap(({ records }) => records)
      assert.isTrue(sent.every((one) => Number.isSafeInteger(one.tokens_generated)))
      assert.strictEqual(
        sent.reduce((sum, one) => sum + BigInt(one.tokens_generated), 0n),
        12n * BigInt(absurd) + 5n
      )
      assert.deepStrictEqual((yield* journal.balance).waiting, { records: 0, tokens: 0 })
    }).pipe(Effect.scoped))

  it.live("writes a record with a number that is none, as one that the file refuses would keep back all others", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "usage.sqlite")
      const journal = yield* open(path)
      yield* journal.closed(1, { ...record(1), held_ms: Number.NaN, bytes: 1e300, replays: -1, ttft_ms: 1.5 })
      yield* journal.closed(2, record(2))
      const sent = (yield* drain(journal)).flatMap(({ records }) => records)
      assert.deepStrictEqual(sent.map((one) => [one.tokens_generated, one.held_ms, one.replays]), [[1, 0, 0], [
        2,
        0,
        0
      ]])
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
    }).pipe(Effect.scoped))
})
