import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Logger } from "effect"
import { TestClock } from "effect/testing"
import { unpackCounts } from "../../src/internal/usage/counts.ts"
import { type JournalBackend, makeGroupCommit } from "../../src/internal/usage/groupCommit.ts"
import { makeLedger } from "../../src/internal/usage/ledger.ts"
import { makeMemoryStore } from "../../src/internal/usage/memoryStore.ts"
import { makeRecordIds } from "../../src/internal/usage/recordId.ts"
import { Tally } from "../../src/internal/usage/tally.ts"
import { JournalFault, Settlement, type UsageJournal } from "../../src/services/UsageJournal.ts"
import { UsageMetrics } from "../../src/services/UsageMetrics.ts"
import { figuresLayer, packed, record, UsageFigures } from "../suites/usageSupport.ts"

const full = new JournalFault({ operation: "commit", reason: "full", detail: "no space left on the disk" })

const unreadable = new JournalFault({ operation: "balance", reason: "io", detail: "the row cannot be read" })

/** A disk that a test can fill, freeze, or make forget to answer. */
interface Disk {
  state: "fine" | "full" | "frozen" | "mute" | "unreadable"
  /** Rows of the largest group that came. */
  largest: number
  /** Tells that the checkpoint on its way was not written. */
  lost: ((fault: JournalFault | undefined) => void) | undefined
}

/** A journal over a disk with faults. */
const makeJournal = Effect.gen(function*() {
  const disk: Disk = { state: "fine", largest: 0, lost: undefined }
  const metrics = yield* UsageMetrics
  const recordId = makeRecordIds(Math.random)
  const store = makeMemoryStore()
  const ledger = makeLedger(store, { recordId, retention: { limit: 100_000, countMerged: true } })
  ledger.begin("session", "sidecar", 0)
  const refuse = Effect.suspend(() =>
    disk.state === "fine" ? Effect.void : Effect.fail(disk.state === "unreadable" ? unreadable : full)
  )
  const backend: JournalBackend = {
    sidecarId: () => "sidecar",
    generation: () => 1,
    paceMillis: 1,
    commit: (group) =>
      Effect.suspend(() => {
        disk.largest = Math.max(disk.largest, group.closed.length)
        if (disk.state === "full") return Effect.fail(full)
        ledger.commit(group)
        if (disk.state === "frozen") return Effect.never
        return disk.state === "mute" ? Effect.fail(full) : Effect.void
      }),
    checkpoint: (counts, lost) => {
      if (disk.lost !== undefined) return false
      if (disk.state === "fine") ledger.checkpoint(counts, 0)
      else disk.lost = lost
      return true
    },
    nextBatch: (limit) => Effect.andThen(refuse, Effect.sync(() => ledger.nextBatch(limit, 0))),
    settle: (batchId, settlement) => Effect.andThen(refuse, Effect.sync(() => ledger.settle(batchId, settlement, 0))),
    setAside: Effect.andThen(refuse, Effect.sync(() => ledger.setAside())),
    retrySetAside: (ids) => Effect.andThen(refuse, Effect.sync(() => ledger.retrySetAside(ids))),
    balance: Effect.andThen(refuse, Effect.sync(() => ledger.balance()))
  }
  const journal = yield* makeGroupCommit(backend, { session: "session", limit: 1000, recordId, metrics })
  /** Chunks of the streams in the last checkpoint on the disk. */
  const saved = () => unpackCounts(store.open().counts).map(({ chunks }) => chunks)
  return { disk, journal, saved }
})

const close = (journal: UsageJournal["Service"], count: number, from = 1) =>
  Effect.forEach(
    Array.from({ length: count }, (_, index) => from + index),
    (slot) => journal.closed(slot, record(1, { tenant: `t${slot % 3}` })),
    { concurrency: "unbounded", discard: true }
  )

/** Two ends, and the time that their commit takes. */
const closeInTime = Effect.fnUntraced(function*(journal: UsageJournal["Service"]) {
  const ends = yield* close(journal, 2).pipe(Effect.forkChild({ startImmediately: true }))
  yield* TestClock.adjust(20)
  yield* Fiber.join(ends)
})

/** The fault of what must not succeed. */
const refused = <A>(question: Effect.Effect<A, JournalFault>) =>
  Effect.map(Effect.result(question), (result) => result._tag === "Failure" ? result.failure : undefined)

/** A running stream with so many chunks. */
const counting = (chunks: number) => Object.assign(new Tally(1, "one", 0), { chunks })

describe("a journal whose disk fails", () => {
  const test = (
    name: string,
    body: (world: Effect.Success<typeof makeJournal>) => Effect.Effect<void, JournalFault, UsageFigures>
  ) => it.effect(name, () => makeJournal.pipe(Effect.flatMap(body), Effect.scoped, Effect.provide(figuresLayer)))

  test("holds no stream's end back, and says so at once", ({ disk, journal }) =>
    Effect.gen(function*() {
      const figures = yield* UsageFigures
      disk.state = "full"
      yield* close(journal, 3)
      const condition = journal.condition()
      assert.deepStrictEqual(condition, {
        _tag: "failing",
        reason: "full",
        detail: "no space left on the disk",
        since: 0,
        unsaved: 3
      })
      assert.isAtLeast(figures.journalErrors.get("full") ?? 0, 1)
      const balance = yield* journal.balance
      assert.deepStrictEqual(balance.unsaved, { records: 3, tokens: 3 })
      assert.deepStrictEqual(balance.delivered, { records: 3, tokens: 3 })
      assert.deepStrictEqual(balance.waiting, { records: 3, tokens: 3 })
    }))

  test("writes everything within a second after it has healed, without being asked", ({ disk, journal }) =>
    Effect.gen(function*() {
      disk.state = "full"
      yield* close(journal, 700)
      yield* TestClock.adjust("1 hour")
      disk.state = "fine"
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
      const { delivered, unsaved } = yield* journal.balance
      assert.deepStrictEqual([delivered, unsaved], [{ records: 700, tokens: 700 }, { records: 0, tokens: 0 }])
    }))

  test("heals when nothing waits either", ({ disk, journal }) =>
    Effect.gen(function*() {
      disk.state = "full"
      yield* close(journal, 1)
      disk.state = "mute"
      yield* TestClock.adjust("2 seconds")
      disk.state = "fine"
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
    }))

  test("keeps a bounded number of records in memory and every token", ({ disk, journal }) =>
    Effect.gen(function*() {
      disk.state = "full"
      for (let round = 0; round < 50; round++) yield* close(journal, 200, 1 + round * 200)
      assert.deepStrictEqual((yield* journal.balance).unsaved, { records: 10_000, tokens: 10_000 })
      disk.state = "fine"
      yield* TestClock.adjust("10 seconds")
      const { delivered, waiting } = yield* journal.balance
      assert.deepStrictEqual(delivered, { records: 10_000, tokens: 10_000 })
      assert.strictEqual(waiting.tokens, 10_000)
      assert.isAtMost(waiting.records, 1600)
      assert.isAtMost(disk.largest, 600)
    }))

  test("writes once what was committed without an answer", ({ disk, journal }) =>
    Effect.gen(function*() {
      disk.state = "mute"
      yield* close(journal, 5)
      yield* TestClock.adjust("1 minute")
      disk.state = "fine"
      yield* TestClock.adjust("1 second")
      const { delivered, waiting } = yield* journal.balance
      assert.deepStrictEqual([delivered, waiting], [{ records: 5, tokens: 5 }, { records: 5, tokens: 5 }])
    }))

  test("lets streams end when the disk does not answer", ({ disk, journal }) =>
    Effect.gen(function*() {
      disk.state = "frozen"
      const ends = yield* close(journal, 5).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust("400 millis")
      assert.strictEqual(ends.pollUnsafe(), undefined)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(ends)
      const condition = journal.condition()
      assert.strictEqual(condition._tag === "failing" ? condition.reason : "ok", "stalled")
      disk.state = "fine"
    }))

  test("commits the counters that were lost on their way, and tells the fault then", ({ disk, journal, saved }) =>
    Effect.gen(function*() {
      journal.checkpoint(packed(counting(1)))
      assert.deepStrictEqual(saved(), [1])
      disk.state = "full"
      journal.checkpoint(packed(counting(2)))
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
      disk.lost?.(full)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(journal.condition()._tag, "failing")
      assert.deepStrictEqual(saved(), [1])
      disk.state = "fine"
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
      assert.deepStrictEqual(saved(), [2])
    }))

  test("tells a fault that only the checkpoint had, and that it is over", ({ disk, journal, saved }) =>
    Effect.gen(function*() {
      const figures = yield* UsageFigures
      disk.state = "full"
      journal.checkpoint(packed(counting(1)))
      disk.state = "fine"
      disk.lost?.(full)
      yield* TestClock.adjust(20)
      assert.deepStrictEqual([...figures.journalErrors], [["full", 1]])
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
      assert.deepStrictEqual(saved(), [1])
    }))

  test("puts no older counters in the place of newer ones", ({ disk, journal, saved }) =>
    Effect.gen(function*() {
      disk.state = "full"
      journal.checkpoint(packed(counting(1)))
      disk.state = "fine"
      journal.checkpoint(packed(counting(2)))
      disk.lost?.(undefined)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(saved(), [2])
    }))

  test("notices a disk that does not answer a checkpoint", ({ disk, journal }) =>
    Effect.gen(function*() {
      disk.state = "frozen"
      for (let chunks = 1; chunks < 10; chunks++) {
        journal.checkpoint(packed(counting(chunks)))
        yield* TestClock.adjust(240)
      }
      const condition = journal.condition()
      assert.strictEqual(condition._tag === "failing" ? condition.reason : "ok", "stalled")
      disk.state = "fine"
    }))

  test("runs on when it comes back between two streams", ({ disk, journal }) =>
    Effect.gen(function*() {
      for (let round = 0; round < 20; round++) {
        disk.state = round % 2 === 0 ? "full" : "fine"
        const ends = yield* close(journal, 10, 1 + round * 10).pipe(Effect.forkChild({ startImmediately: true }))
        yield* TestClock.adjust("700 millis")
        yield* Fiber.join(ends)
      }
      disk.state = "fine"
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual((yield* journal.balance).delivered, { records: 200, tokens: 200 })
    }))

  test("tells once that it cannot be read, as it does of writing, and that it can again", ({ disk, journal }) =>
    Effect.gen(function*() {
      const figures = yield* UsageFigures
      const lines: Array<string> = []
      const logger = Logger.layer([
        Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${String(message)}`))
      ])
      yield* closeInTime(journal)
      disk.state = "unreadable"
      yield* Effect.gen(function*() {
        assert.deepStrictEqual((yield* journal.balance).waiting, { records: 0, tokens: 0 })
        assert.strictEqual((yield* refused(journal.nextBatch(10)))?.detail, unreadable.detail)
        assert.strictEqual((yield* refused(journal.settle("b", Settlement.Acknowledged())))?.reason, "io")
        // What is written meanwhile is written, and heals nothing.
        yield* closeInTime(journal)
        assert.deepStrictEqual(journal.condition(), {
          _tag: "failing",
          reason: "io",
          detail: unreadable.detail,
          since: 20,
          unsaved: 0
        })
        assert.deepStrictEqual([...figures.journalErrors], [["io", 3]])
        assert.strictEqual(lines.length, 1)
        assert.match(lines[0]!, /^Error: usage journal: the row cannot be read; .* not reported until/)
        disk.state = "fine"
        assert.deepStrictEqual((yield* journal.balance).waiting, { records: 4, tokens: 4 })
        assert.strictEqual(journal.condition()._tag, "failing")
        const batch = yield* journal.nextBatch(10)
        yield* journal.settle(batch!.batchId, Settlement.Acknowledged())
        assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
        assert.deepStrictEqual(lines.slice(1), ["Info: usage journal: read again, nothing was lost"])
      }).pipe(Effect.provide(logger))
    }))

  test("does not wait for an answer that nobody asks for any more", ({ disk, journal }) =>
    Effect.gen(function*() {
      disk.state = "unreadable"
      yield* refused(journal.nextBatch(10))
      disk.state = "fine"
      yield* journal.balance
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
    }))
})
