import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { packCounts } from "../../src/internal/usage/counts.ts"
import { type JournalBackend, makeFront } from "../../src/internal/usage/front.ts"
import { makeLedger } from "../../src/internal/usage/ledger.ts"
import { makeMemoryStore } from "../../src/internal/usage/memoryStore.ts"
import { packGroup, unpackGroup } from "../../src/internal/usage/packedGroup.ts"
import { makeRecordIds } from "../../src/internal/usage/recordId.ts"
import { valuesOf } from "../../src/internal/usage/sqliteRows.ts"
import { openColumns, recordColumns } from "../../src/internal/usage/sqliteSchema.ts"
import type { UsageGroup } from "../../src/internal/usage/store.ts"
import { makeTally } from "../../src/internal/usage/tally.ts"
import { Metrics } from "../../src/services/Metrics.ts"
import type { OpenStream } from "../../src/services/UsageJournal.ts"
import { figuresLayer, identity, record, type UsageFigures } from "../suites/usageSupport.ts"

const pace = 10

/** A journal of which can be seen when it commits what, and that can be killed at any moment. */
const makeJournal = Effect.gen(function*() {
  const metrics = yield* Metrics
  const recordId = makeRecordIds(Math.random)
  const store = makeMemoryStore()
  const options = { recordId, retention: { limit: 1000, countMerged: true } }
  const ledger = makeLedger(store, options)
  ledger.begin("session", "sidecar", 0)
  const groups: Array<UsageGroup> = []
  const backend: JournalBackend = {
    sidecarId: () => "sidecar",
    generation: () => 1,
    paceMillis: pace,
    commit: (group) =>
      Effect.sync(() => {
        groups.push(group)
        ledger.commit(group)
      }),
    nextBatch: (limit) => Effect.sync(() => ledger.nextBatch(limit, 0)),
    settle: (batchId, settlement) => Effect.sync(() => ledger.settle(batchId, settlement, 0)),
    setAside: Effect.sync(() => ledger.setAside()),
    retrySetAside: (ids) => Effect.sync(() => ledger.retrySetAside(ids)),
    balance: Effect.sync(() => ledger.balance())
  }
  const journal = yield* makeFront(backend, { session: "session", limit: 1000, recordId, metrics })
  /** What the next process finds: id, outcome and tokens of each record. */
  const afterKill = () => {
    const next = makeLedger(store, options)
    next.begin("next session", "sidecar", 0)
    const records = next.nextBatch(100, 0)?.records ?? []
    return records.map((one) => [one.record_id, one.outcome, one.tokens_generated])
  }
  return { journal, groups, afterKill }
})

const stream = (slot: number): OpenStream => ({
  slot,
  recordId: `stream-${slot}`,
  startedAt: 0,
  identity: identity()
})

const counted = (slot: number, tokens: number) => ({ ...makeTally(slot, `stream-${slot}`, 0), tokens })

const test = (
  name: string,
  body: (world: Effect.Success<typeof makeJournal>) => Effect.Effect<void, never, UsageFigures>
) => it.effect(name, () => makeJournal.pipe(Effect.flatMap(body), Effect.scoped, Effect.provide(figuresLayer)))

describe("the groups of a journal", () => {
  test("hold one record and no row of a stream that ends soon after it has begun", ({ afterKill, groups, journal }) =>
    Effect.gen(function*() {
      journal.opened(stream(1))
      yield* TestClock.adjust(5)
      yield* journal.closed(1, record(3, { id: "stream-1" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        groups.map(({ closed, ended, opened }) => [opened.length, ended.length, closed.length]),
        [[0, 0, 1]]
      )
      assert.deepStrictEqual(afterKill(), [["stream-1", "completed", 3]])
    }))

  test("hold the row of a stream that runs within 20 ms", ({ afterKill, groups, journal }) =>
    Effect.gen(function*() {
      journal.opened(stream(1))
      yield* TestClock.adjust(7)
      journal.opened(stream(2))
      yield* TestClock.adjust(20)
      assert.deepStrictEqual(groups.flatMap(({ opened }) => opened.map(({ slot }) => slot)), [1, 2])
      assert.deepStrictEqual(afterKill(), [["stream-1", "interrupted", 0], ["stream-2", "interrupted", 0]])
    }))

  test("hold the rows of all streams that are counted in them", ({ afterKill, journal }) =>
    Effect.gen(function*() {
      journal.opened(stream(1))
      journal.checkpoint(packCounts([counted(1, 7)]))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(afterKill(), [["stream-1", "interrupted", 7]])
    }))

  test("hold a row and its end when the stream ends later: a kill in between leaves it interrupted", (world) =>
    Effect.gen(function*() {
      const { afterKill, groups, journal } = world
      journal.opened(stream(1))
      journal.opened(stream(2))
      yield* TestClock.adjust(20 + pace)
      yield* journal.closed(1, record(3, { id: "stream-1" }))
      assert.deepStrictEqual(groups.map(({ ended }) => ended), [[], [1]])
      assert.deepStrictEqual(afterKill(), [["stream-1", "completed", 3], ["stream-2", "interrupted", 0]])
    }))

  test("are made at once for an end that comes alone", ({ groups, journal }) =>
    Effect.gen(function*() {
      for (let slot = 1; slot <= 3; slot++) {
        yield* journal.closed(slot, record(1))
        assert.strictEqual(groups.length, slot)
        yield* TestClock.adjust(pace)
      }
    }))

  test("are shared by the ends that come while the pace is kept", ({ groups, journal }) =>
    Effect.gen(function*() {
      yield* journal.closed(1, record(1))
      const ends = yield* Effect.forEach(
        [2, 3, 4],
        (slot) => Effect.andThen(Effect.sleep(slot), journal.closed(slot, record(1))),
        { concurrency: "unbounded", discard: true }
      ).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust(pace - 1)
      assert.deepStrictEqual(groups.map(({ closed }) => closed.length), [1])
      yield* TestClock.adjust(1)
      yield* Fiber.join(ends)
      assert.deepStrictEqual(groups.map(({ closed }) => closed.length), [1, 3])
    }))

  test("are not delayed by a clock that goes back", ({ groups, journal }) =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_000_000)
      yield* journal.closed(1, record(1))
      yield* TestClock.setTime(0)
      const end = yield* journal.closed(2, record(1)).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust(pace)
      yield* Fiber.join(end)
      assert.strictEqual(groups.length, 2)
    }))
})

describe("a packed group", () => {
  const group: UsageGroup = {
    session: "session",
    sequence: 3,
    at: 5,
    opened: [stream(7), { ...stream(8), startedAt: 12 }],
    ended: [5, 6],
    closed: [
      record(3, { id: "a" }),
      { ...record(4, { id: "b", outcome: "worker_lost" }), prompt_tokens: 9, merged_records: 2, ttft_ms: null }
    ],
    counts: packCounts([counted(7, 2)])
  }

  it("is the same group again after its way to the thread", () => {
    const arrived = unpackGroup(structuredClone(packGroup(group)))
    const priority = { priority: 0 }
    assert.deepStrictEqual(arrived, {
      ...group,
      opened: group.opened.map((one) => ({ ...one, identity: { ...identity(), ...priority } }))
    })
  })

  it("has as many values a row as the table has columns, in their order", () => {
    for (const one of group.closed) {
      assert.deepStrictEqual(valuesOf(one), recordColumns.map((column) => one[column] ?? null))
    }
    assert.strictEqual(packGroup(group).opened.length, group.opened.length * openColumns.length)
  })
})

describe("a ledger with more records than its limit", () => {
  it("merges some ahead, and never keeps more than the limit", () => {
    const store = makeMemoryStore()
    const ledger = makeLedger(store, {
      recordId: makeRecordIds(Math.random),
      retention: { limit: 1000, countMerged: true }
    })
    ledger.begin("session", "sidecar", 0)
    let merges = 0
    let merged = 0
    for (let sequence = 1; sequence <= 1500; sequence++) {
      ledger.commit({
        session: "session",
        sequence,
        at: sequence,
        opened: [],
        ended: [],
        closed: [record(2)],
        counts: undefined
      })
      const { mergedStreams, waiting } = ledger.balance()
      assert.isAtMost(waiting.records, 1000)
      assert.strictEqual(waiting.tokens, 2 * sequence)
      if (mergedStreams > merged) merges++
      merged = mergedStreams
    }
    assert.isAtMost(merges, 60)
  })
})
