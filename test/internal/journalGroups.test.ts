import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { PackedCounts } from "../../src/internal/usage/counts.ts"
import { type JournalBackend, makeGroupCommit } from "../../src/internal/usage/groupCommit.ts"
import { makeLedger } from "../../src/internal/usage/ledger.ts"
import { makeMemoryStore } from "../../src/internal/usage/memoryStore.ts"
import { makeRecordIds } from "../../src/internal/usage/recordId.ts"
import type { UsageGroup } from "../../src/internal/usage/store.ts"
import { Tally } from "../../src/internal/usage/tally.ts"
import type { OpenStream } from "../../src/services/UsageJournal.ts"
import { UsageMetrics } from "../../src/services/UsageMetrics.ts"
import { figuresLayer, identity, packed, record, type UsageFigures } from "../suites/usageSupport.ts"

const pace = 10

/** A journal of which can be seen when it commits what, and that can be killed at any moment. */
const makeJournal = Effect.gen(function*() {
  const metrics = yield* UsageMetrics
  const recordId = makeRecordIds(Math.random)
  const store = makeMemoryStore()
  const options = { recordId, retention: { limit: 1000, countMerged: true } }
  const ledger = makeLedger(store, options)
  ledger.begin("session", "sidecar", 0)
  const groups: Array<UsageGroup> = []
  const alone: Array<PackedCounts> = []
  const backend: JournalBackend = {
    sidecarId: () => "sidecar",
    generation: () => 1,
    paceMillis: pace,
    commit: (group) =>
      Effect.sync(() => {
        groups.push(group)
        ledger.commit(group)
      }),
    checkpoint: (counts) => {
      alone.push(counts)
      ledger.checkpoint(counts, 0)
      return true
    },
    nextBatch: (limit) => Effect.sync(() => ledger.nextBatch(limit, 0)),
    settle: (batchId, settlement) => Effect.sync(() => ledger.settle(batchId, settlement, 0)),
    setAside: Effect.sync(() => ledger.setAside()),
    retrySetAside: (ids) => Effect.sync(() => ledger.retrySetAside(ids)),
    balance: Effect.sync(() => ledger.balance())
  }
  const journal = yield* makeGroupCommit(backend, { session: "session", limit: 1000, recordId, metrics })
  const end = (slot: number, tokens = 1) => journal.closed(slot, record(tokens, { id: `stream-${slot}` }))
  /** What the next process finds: id, outcome and tokens of each record. */
  const afterKill = () => {
    const next = makeLedger(store, options)
    next.begin("next session", "sidecar", 0)
    const records = next.nextBatch(100, 0)?.records ?? []
    return records.map((one) => [one.record_id, one.outcome, one.tokens_generated])
  }
  return { journal, end, groups, alone, afterKill, ends: () => groups.map(({ closed }) => closed.length) }
})

const stream = (slot: number): OpenStream => ({
  slot,
  recordId: `stream-${slot}`,
  startedAt: 0,
  identity: identity()
})

const test = (
  name: string,
  body: (world: Effect.Success<typeof makeJournal>) => Effect.Effect<void, never, UsageFigures>
) => it.effect(name, () => makeJournal.pipe(Effect.flatMap(body), Effect.scoped, Effect.provide(figuresLayer)))

describe("the groups of a journal", () => {
  test("hold one record and no row of a stream that ends soon after it has begun", ({ afterKill, end, groups, journal }) =>
    Effect.gen(function*() {
      journal.opened(stream(1))
      yield* TestClock.adjust(5)
      yield* end(1, 3)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        groups.map(({ closed, ended, opened }) => [opened.length, ended.length, closed.length]),
        [[0, 0, 1]]
      )
      assert.deepStrictEqual(afterKill(), [["stream-1", "completed", 3]])
    }))

  test("hold the row of a stream that runs within 10 ms and the pace", ({ afterKill, groups, journal }) =>
    Effect.gen(function*() {
      journal.opened(stream(1))
      yield* TestClock.adjust(7)
      journal.opened(stream(2))
      yield* TestClock.adjust(3)
      journal.opened(stream(3))
      yield* TestClock.adjust(10 + pace)
      assert.deepStrictEqual(groups.map(({ opened }) => opened.map(({ slot }) => slot)), [[1, 2], [3]])
      assert.deepStrictEqual(afterKill(), [1, 2, 3].map((slot) => [`stream-${slot}`, "interrupted", 0]))
    }))

  test("hold the rows of all streams that are counted in them", ({ afterKill, journal }) =>
    Effect.gen(function*() {
      journal.opened(stream(1))
      journal.checkpoint(packed(Object.assign(new Tally(1, "stream-1", 0), { chunks: 7 })))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(afterKill(), [["stream-1", "interrupted", 7]])
    }))

  test("are not made for counters that come alone", ({ afterKill, alone, groups, journal }) =>
    Effect.gen(function*() {
      const tally = new Tally(1, "stream-1", 0)
      journal.opened(stream(1))
      yield* TestClock.adjust(10 + pace)
      for (tally.chunks = 1; tally.chunks < 4; tally.chunks++) {
        journal.checkpoint(packed(tally))
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual([groups.length, alone.length], [1, 3])
      assert.deepStrictEqual(afterKill(), [["stream-1", "interrupted", 3]])
    }))

  test("hold a row and its end when the stream ends later: a kill in between leaves it interrupted", (world) =>
    Effect.gen(function*() {
      const { afterKill, end, groups, journal } = world
      journal.opened(stream(1))
      journal.opened(stream(2))
      yield* TestClock.adjust(10 + pace)
      yield* end(1, 3)
      assert.deepStrictEqual(groups.map(({ ended }) => ended), [[], [1]])
      assert.deepStrictEqual(afterKill(), [["stream-1", "completed", 3], ["stream-2", "interrupted", 0]])
    }))

  test("take away only the rows whose records they bring", ({ afterKill, end, groups, journal }) =>
    Effect.gen(function*() {
      const slots = Array.from({ length: 900 }, (_, index) => index + 1)
      for (const slot of slots) journal.opened(stream(slot))
      yield* TestClock.adjust(10 + pace)
      const ends = yield* Effect.forEach(slots, (slot) => end(slot), { concurrency: "unbounded", discard: true })
        .pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(ends)
      const ending = groups.filter(({ closed }) => closed.length > 0)
      for (const { closed, ended } of ending) {
        assert.deepStrictEqual(ended.map((slot) => `stream-${slot}`), closed.map(({ record_id }) => record_id))
      }
      assert.isAbove(ending.length, 1)
      assert.strictEqual(ending.reduce((sum, { ended }) => sum + ended.length, 0), 900)
      assert.isTrue(afterKill().every(([, outcome]) => outcome === "completed"))
    }))

  test("are made at once for an end that comes alone", ({ end, groups }) =>
    Effect.gen(function*() {
      for (let slot = 1; slot <= 3; slot++) {
        yield* end(slot)
        assert.strictEqual(groups.length, slot)
        yield* TestClock.adjust(pace)
      }
    }))

  test("are shared by the ends that come while the pace is kept", ({ end, ends }) =>
    Effect.gen(function*() {
      yield* end(1)
      const more = yield* Effect.forEach(
        [2, 3, 4],
        (slot) => Effect.andThen(Effect.sleep(slot), end(slot)),
        { concurrency: "unbounded", discard: true }
      ).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust(pace - 1)
      assert.deepStrictEqual(ends(), [1])
      yield* TestClock.adjust(1)
      yield* Fiber.join(more)
      assert.deepStrictEqual(ends(), [1, 3])
    }))

  test("are made early for a crowd of ends", ({ end, ends }) =>
    Effect.gen(function*() {
      yield* end(1)
      const crowd = yield* Effect.forEach(
        Array.from({ length: 32 }, (_, index) => 2 + index),
        (slot) => end(slot),
        { concurrency: "unbounded", discard: true }
      ).pipe(Effect.forkChild({ startImmediately: true }))
      // The clock stands still.
      yield* Fiber.join(crowd)
      assert.deepStrictEqual(ends(), [1, 32])
    }))

  test("are not delayed by a clock that goes back", ({ end, groups }) =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_000_000)
      yield* end(1)
      yield* TestClock.setTime(0)
      const second = yield* end(2).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust(pace)
      yield* Fiber.join(second)
      assert.strictEqual(groups.length, 2)
    }))
})
