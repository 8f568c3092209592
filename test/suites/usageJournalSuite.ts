import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { Settlement, UsageJournal } from "../../src/services/UsageJournal.ts"
import { type MeteringOptions, record, type UsageFigures } from "./usageSupport.ts"

const sum = (records: ReadonlyArray<{ readonly tokens_generated: number }>): number =>
  records.reduce((total, { tokens_generated }) => total + tokens_generated, 0)

const hour = 3_600_000

/**
 * What every journal promises, whatever keeps its rows.
 *
 * @param layer a journal that is new each time it is built
 */
export const usageJournalSuite = (
  name: string,
  layer: (metering: MeteringOptions) => Layer.Layer<UsageJournal | UsageFigures, unknown>
): void => {
  const billed = (limit = 10_000) => layer({ billing_endpoint: "http://billing.test", offline_queue_size: limit })

  const closeAll = Effect.fnUntraced(function*(records: ReadonlyArray<ReturnType<typeof record>>) {
    const journal = yield* UsageJournal
    yield* Effect.forEach(records, (one, index) => journal.closed(index + 1, one), { concurrency: "unbounded" })
  })

  /** Acknowledges all that waits; answers it. */
  const drain = Effect.gen(function*() {
    const journal = yield* UsageJournal
    const all = []
    for (;;) {
      const batch = yield* journal.nextBatch(500)
      if (batch === undefined) return all
      all.push(...batch.records)
      yield* journal.settle(batch.batchId, Settlement.Acknowledged())
    }
  })

  describe(name, () => {
    it.live("hands out what was closed, oldest first, in batches of the limit", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        const records = Array.from({ length: 5 }, (_, index) => record(index + 1))
        yield* closeAll(records)
        const first = yield* journal.nextBatch(3)
        assert.deepStrictEqual(
          first?.records,
          records.slice(0, 3).map((one) => ({ ...one, sidecar_id: journal.sidecarId() }))
        )
        assert.strictEqual(first?.sidecarId, journal.sidecarId())
      }).pipe(Effect.provide(billed())))

    it.live("keeps a batch the same until it is settled, whatever comes in", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        yield* closeAll([record(1), record(2)])
        const first = yield* journal.nextBatch(500)
        yield* closeAll(Array.from({ length: 40 }, () => record(1)))
        assert.deepStrictEqual(yield* journal.nextBatch(500), first)
        assert.deepStrictEqual(yield* journal.nextBatch(1), first)
      }).pipe(Effect.provide(billed(10))))

    it.live("forgets acknowledged records and remembers their sum", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        yield* closeAll([record(10), record(20)])
        const batch = yield* journal.nextBatch(1)
        yield* journal.settle(batch!.batchId, Settlement.Acknowledged())
        yield* journal.settle(batch!.batchId, Settlement.Acknowledged())
        const balance = yield* journal.balance
        assert.deepStrictEqual(balance.acknowledged, { records: 1, tokens: 10 })
        assert.deepStrictEqual(balance.waiting, { records: 1, tokens: 20 })
        assert.deepStrictEqual(balance.delivered, { records: 2, tokens: 30 })
      }).pipe(Effect.provide(billed())))

    it.live("splits a batch into two that hold the same records", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        yield* closeAll(Array.from({ length: 5 }, (_, index) => record(index + 1)))
        const whole = yield* journal.nextBatch(500)
        yield* journal.settle(whole!.batchId, Settlement.Split({ reason: "413" }))
        const first = yield* journal.nextBatch(500)
        yield* journal.settle(first!.batchId, Settlement.Acknowledged())
        const second = yield* journal.nextBatch(500)
        assert.deepStrictEqual([...first!.records, ...second!.records], whole!.records)
        assert.strictEqual(first!.records.length, 3)
        assert.strictEqual(new Set([whole!.batchId, first!.batchId, second!.batchId]).size, 3)
      }).pipe(Effect.provide(billed())))

    it.live("sets the record of a batch of one aside when it is split", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        yield* closeAll([record(10, { id: "poison" })])
        const batch = yield* journal.nextBatch(500)
        yield* journal.settle(batch!.batchId, Settlement.Split({ reason: "HTTP 400" }))
        assert.strictEqual(yield* journal.nextBatch(500), undefined)
        const aside = yield* journal.setAside
        assert.deepStrictEqual(aside.map(({ reason, record }) => [record.record_id, reason]), [["poison", "HTTP 400"]])
        assert.deepStrictEqual((yield* journal.balance).setAside, { records: 1, tokens: 10 })
      }).pipe(Effect.provide(billed())))

    it.live("settles a batch record by record: what nobody has answered for is in a batch of its own", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        yield* closeAll(["stored", "poison", "left", "also left"].map((id, index) => record(index + 1, { id })))
        const batch = yield* journal.nextBatch(500)
        const settlement = Settlement.Partly({
          acknowledged: ["stored", "of another batch"],
          setAside: [{ recordId: "poison", reason: "too large" }]
        })
        yield* journal.settle(batch!.batchId, settlement)
        yield* journal.settle(batch!.batchId, settlement)
        const rest = yield* journal.nextBatch(500)
        assert.notStrictEqual(rest!.batchId, batch!.batchId)
        assert.deepStrictEqual(rest!.records.map((one) => one.record_id), ["left", "also left"])
        const aside = yield* journal.setAside
        assert.deepStrictEqual(aside.map(({ reason, record }) => [record.record_id, reason]), [["poison", "too large"]])
        const { acknowledged, setAside, waiting } = yield* journal.balance
        assert.deepStrictEqual([acknowledged.tokens, setAside.tokens, waiting.tokens], [1, 2, 7])
        yield* journal.settle(rest!.batchId, Settlement.Partly({ acknowledged: ["left", "also left"], setAside: [] }))
        assert.strictEqual(yield* journal.nextBatch(500), undefined)
        assert.strictEqual((yield* journal.balance).acknowledged.tokens, 8)
      }).pipe(Effect.provide(billed())))

    it.live("sends a record that was set aside again when it is told to, with the same id", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        yield* closeAll([record(10, { id: "one" }), record(5, { id: "two" })])
        const batch = yield* journal.nextBatch(500)
        yield* journal.settle(batch!.batchId, Settlement.SetAside({ reason: "no" }))
        assert.strictEqual(yield* journal.retrySetAside(["one", "unknown"]), 1)
        assert.deepStrictEqual((yield* drain).map((one) => one.record_id), ["one"])
        assert.strictEqual(yield* journal.retrySetAside(), 1)
        assert.deepStrictEqual((yield* drain).map((one) => one.record_id), ["two"])
        const { acknowledged, delivered } = yield* journal.balance
        assert.deepStrictEqual(acknowledged, delivered)
      }).pipe(Effect.provide(billed())))

    it.live("keeps at most offline_queue_size records and every token of the rest", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        const records = Array.from({ length: 3000 }, (_, index) =>
          record(index % 7, { tenant: `t${index % 5}`, endedAt: index * 10_000 }))
        for (let at = 0; at < records.length; at += 100) {
          yield* closeAll(records.slice(at, at + 100))
          assert.isAtMost((yield* journal.balance).waiting.records, 100)
        }
        const { delivered, mergedStreams, waiting } = yield* journal.balance
        assert.deepStrictEqual(delivered, { records: 3000, tokens: sum(records) })
        assert.strictEqual(waiting.tokens, sum(records))
        assert.isAtLeast(mergedStreams, 2900)
        const sent = yield* drain
        assert.strictEqual(sum(sent), sum(records))
        assert.strictEqual(
          sent.reduce((total, one) =>
            total + (one.merged_records ?? 1), 0),
          3000
        )
        assert.strictEqual(new Set(sent.map((one) => one.record_id)).size, sent.length)
      }).pipe(Effect.provide(billed(100))))

    it.live("merges only records of one tenant, player, model, outcome and hour", () =>
      Effect.gen(function*() {
        yield* closeAll([
          record(1, { tenant: "a", endedAt: 1000 }),
          record(2, { tenant: "a", endedAt: 2000 }),
          record(4, { tenant: "b", endedAt: 3000 }),
          record(8, { tenant: "a", endedAt: hour + 1 }),
          record(16, { tenant: "a", outcome: "cancelled", endedAt: 4000 }),
          record(32, { tenant: "z", endedAt: 2 * hour })
        ])
        const sent = yield* drain
        assert.deepStrictEqual(
          sent.map((one) => [one.tenant, one.outcome, one.ended_at.slice(11, 13), one.tokens_generated]).toSorted(),
          [
            ["a", "cancelled", "00", 16],
            ["a", "completed", "00", 3],
            ["a", "completed", "01", 8],
            ["b", "completed", "00", 4],
            ["z", "completed", "02", 32]
          ]
        )
      }).pipe(Effect.provide(billed(1))))

    it.live("never changes a merged record that is in a batch: a new one begins", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        yield* closeAll([record(1), record(2), record(4)])
        const batch = yield* journal.nextBatch(500)
        assert.strictEqual(sum(batch!.records), 7)
        yield* closeAll([record(8), record(16), record(32)])
        assert.deepStrictEqual(yield* journal.nextBatch(500), batch)
        yield* journal.settle(batch!.batchId, Settlement.Acknowledged())
        const rest = yield* drain
        assert.strictEqual(sum(rest), 56)
        const ids = new Set(batch!.records.map((one) => one.record_id))
        assert.isFalse(rest.some((one) => ids.has(one.record_id)))
      }).pipe(Effect.provide(billed(1))))

    it.live("without a billing service keeps the newest in detail and the totals of all", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        const records = Array.from({ length: 50 }, (_, index) =>
          record(1, { id: `r${index}`, tenant: `t${index}`, endedAt: index * 1000 }))
        yield* closeAll(records)
        const { delivered, waiting } = yield* journal.balance
        assert.deepStrictEqual(delivered, { records: 50, tokens: 50 })
        assert.strictEqual(waiting.tokens, 50)
        const kept = yield* drain
        assert.deepStrictEqual(
          kept.filter((one) =>
            one.merged_records === undefined
          ).map((one) => one.record_id),
          records.slice(40).map((one) => one.record_id)
        )
      }).pipe(Effect.provide(layer({ offline_queue_size: 10 }))))

    it.live("says that it is well", () =>
      Effect.gen(function*() {
        const journal = yield* UsageJournal
        yield* closeAll([record(1)])
        assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
      }).pipe(Effect.provide(billed())))
  })
}
