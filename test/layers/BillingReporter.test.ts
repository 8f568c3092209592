import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import * as BillingReporter from "../../src/layers/BillingReporter.ts"
import * as JournalMeter from "../../src/layers/JournalMeter.ts"
import * as MemoryJournal from "../../src/layers/MemoryJournal.ts"
import { BillingCondition, BillingSink, BillingVerdict } from "../../src/services/BillingSink.ts"
import { type UsageBatch, UsageJournal } from "../../src/services/UsageJournal.ts"
import { UsageMeter } from "../../src/services/UsageMeter.ts"
import type { Outcome } from "../../src/services/UsageRecord.ts"
import {
  configLayer,
  figuresLayer,
  identity,
  type MeteringOptions,
  record,
  UsageFigures
} from "../suites/usageSupport.ts"
import { soak } from "../support/run/soak.ts"

const later = (retryAfterMillis?: number) =>
  BillingVerdict.Later({ reason: "error", detail: "HTTP 503", retryAfterMillis })

/** A billing service that answers as it is told, remembers what it saw, and counts a `record_id` once. */
const makeBilling = (answer: (batch: UsageBatch, attempt: number) => BillingVerdict) => {
  const seen: Array<{ readonly at: number; readonly batch: UsageBatch }> = []
  const accepted = new Map<string, number>()
  const sink = Layer.effect(
    BillingSink,
    Effect.clockWith((clock) =>
      Effect.succeed(BillingSink.of({
        send: (batch) =>
          Effect.sync(() => {
            seen.push({ at: clock.currentTimeMillisUnsafe(), batch })
            const verdict = answer(batch, seen.length)
            if (verdict._tag === "Accepted") {
              for (const one of batch.records) accepted.set(one.record_id, one.tokens_generated)
            }
            return verdict
          })
      }))
    )
  )
  return {
    seen,
    accepted,
    sink,
    tokens: () => [...accepted.values()].reduce((sum, tokens) => sum + tokens, 0)
  }
}

const stack = (billing: ReturnType<typeof makeBilling>, metering: MeteringOptions = {}) =>
  BillingReporter.layer.pipe(
    Layer.provideMerge(JournalMeter.layer),
    Layer.provideMerge(MemoryJournal.layer),
    Layer.provideMerge(billing.sink),
    Layer.provideMerge(figuresLayer),
    Layer.provideMerge(configLayer({ billing_endpoint: "http://billing.test", ...metering }))
  )

const ok = BillingVerdict.Accepted({ duplicate: false })

const closeOne = (tokens: number) =>
  Effect.gen(function*() {
    const journal = yield* UsageJournal
    const one = record(tokens)
    yield* journal.closed(1, one)
    return one
  })

/** Streams a minute of the day without billing, and the queue that they overrun. */
const RATE = soak(300, 3)
const QUEUE = soak(10_000, 2000)

describe("BillingReporter", () => {
  it.effect("sends what waits each batch_interval_secs", () => {
    const billing = makeBilling(() => ok)
    return Effect.gen(function*() {
      yield* closeOne(3)
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual(billing.seen.length, 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(billing.tokens(), 3)
      yield* closeOne(4)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(billing.tokens(), 7)
      assert.strictEqual(billing.seen.length, 2)
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("sends the same batch again until it is accepted, ever more slowly, at most a minute apart", () => {
    let up = false
    const billing = makeBilling(() => up ? ok : later())
    return Effect.gen(function*() {
      yield* closeOne(3)
      yield* TestClock.adjust("1 hour")
      const gaps = billing.seen.slice(1).map(({ at }, index) => at - billing.seen[index]!.at)
      assert.isAtLeast(gaps.length, 40)
      assert.isAtMost(gaps[0]!, 1200)
      for (const gap of gaps) assert.isAtMost(gap, 72_000)
      for (const gap of gaps.slice(10)) assert.isAtLeast(gap, 48_000)
      up = true
      yield* TestClock.adjust("72 seconds")
      assert.strictEqual(billing.tokens(), 3)
      assert.strictEqual(new Set(billing.seen.map(({ batch }) => JSON.stringify(batch))).size, 1)
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("waits as long as the service asks it to", () => {
    const billing = makeBilling((_, attempt) => attempt === 1 ? later(300_000) : ok)
    return Effect.gen(function*() {
      yield* closeOne(3)
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(billing.seen.length, 1)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(billing.tokens(), 3)
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("counts a batch that the service had already as delivered", () => {
    const billing = makeBilling(() => BillingVerdict.Accepted({ duplicate: true }))
    return Effect.gen(function*() {
      const figures = yield* UsageFigures
      yield* closeOne(3)
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(billing.seen.length, 1)
      assert.deepStrictEqual([...figures.reports], [["duplicate", 1]])
      assert.strictEqual(figures.tokens.get("acknowledged"), 3)
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("splits what is too large until it fits", () => {
    const billing = makeBilling((batch) => batch.records.length > 3 ? BillingVerdict.TooLarge() : ok)
    return Effect.gen(function*() {
      const records = yield* Effect.replicateEffect(closeOne(2), 20)
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual([...billing.accepted.keys()].toSorted(), records.map((one) => one.record_id).toSorted())
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("sets only the record at fault aside, and delivers its neighbours", () => {
    const billing = makeBilling((batch) =>
      batch.records.some((one) => one.tokens_generated === 13) ? BillingVerdict.Refused({ detail: "HTTP 400" }) : ok
    )
    return Effect.gen(function*() {
      const journal = yield* UsageJournal
      const figures = yield* UsageFigures
      for (let tokens = 1; tokens <= 40; tokens++) yield* closeOne(tokens)
      yield* TestClock.adjust("60 seconds")
      assert.strictEqual(billing.accepted.size, 39)
      assert.deepStrictEqual((yield* journal.setAside).map(({ reason, record }) => [record.tokens_generated, reason]), [
        [13, "HTTP 400"]
      ])
      assert.strictEqual(figures.reports.get("set_aside"), 1)
      assert.strictEqual(
        figures.tokens.get("delivered"),
        figures.tokens.get("acknowledged")! + figures.tokens.get("waiting")! + figures.tokens.get("set_aside")!
      )
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("delivers the others when one record makes the service fail, and sets that one aside", () => {
    const billing = makeBilling((batch) => batch.records.some((one) => one.tokens_generated === 13) ? later() : ok)
    return Effect.gen(function*() {
      const journal = yield* UsageJournal
      for (let tokens = 1; tokens <= 20; tokens++) yield* closeOne(tokens)
      yield* TestClock.adjust("15 seconds")
      for (let tokens = 21; tokens <= 25; tokens++) yield* closeOne(tokens)
      yield* TestClock.adjust("5 minutes")
      // To each half that fails again another record is compared, and when the halves are due is a matter of chance.
      for (let tokens = 26; tokens <= 60; tokens++) {
        yield* closeOne(tokens)
        yield* TestClock.adjust("5 minutes")
      }
      assert.deepStrictEqual(
        [...billing.accepted.values()].toSorted((a, b) => a - b),
        Array.from({ length: 60 }, (_, index) => index + 1).filter((tokens) => tokens !== 13)
      )
      assert.deepStrictEqual((yield* journal.setAside).map(({ reason, record }) => [record.tokens_generated, reason]), [
        [13, "HTTP 503"]
      ])
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("settles what was taken of a report, and sends only the others again", () => {
    let room = 3
    const stored: Array<string> = []
    const billing = makeBilling(() => ok)
    const sink = Layer.succeed(BillingSink, {
      send: (batch: UsageBatch) =>
        Effect.sync(() => {
          const [accepted, left] = [batch.records.slice(0, room), batch.records.slice(room)]
          room -= accepted.length
          stored.push(...accepted.map((one) => one.record_id))
          if (left.length === 0) return ok
          return accepted.length === 0
            ? BillingVerdict.Later({
              reason: "full",
              detail: "no room",
              retryAfterMillis: undefined,
              remedy: "make room"
            })
            : BillingVerdict.Partly({ accepted: accepted.map((one) => one.record_id), refused: [] })
        })
    })
    return Effect.gen(function*() {
      const { condition } = yield* BillingCondition
      const figures = yield* UsageFigures
      const records = yield* Effect.replicateEffect(closeOne(1), 10)
      assert.deepStrictEqual(condition(), { _tag: "ok" })
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(stored.length, 3)
      assert.deepStrictEqual(condition(), {
        _tag: "failing",
        reason: "full",
        detail: "no room",
        remedy: "make room",
        since: 10_100
      })
      assert.strictEqual(figures.tokens.get("acknowledged"), 3)
      room = 4
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(stored.length, 7)
      room = 100
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(stored, records.map((one) => one.record_id))
      assert.deepStrictEqual(condition(), { _tag: "ok" })
      assert.strictEqual(figures.tokens.get("acknowledged"), 10)
      assert.strictEqual(figures.tokens.get("waiting"), 0)
    }).pipe(Effect.provide(stack({ ...billing, sink })))
  })

  it.effect("takes a sink that answers for no record as one that fails", () => {
    const billing = makeBilling(() => BillingVerdict.Partly({ accepted: [], refused: [] }))
    return Effect.gen(function*() {
      const journal = yield* UsageJournal
      yield* closeOne(3)
      yield* TestClock.adjust("1 minute")
      assert.isAtMost(billing.seen.length, 10)
      assert.strictEqual((yield* journal.balance).waiting.tokens, 3)
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("goes on reporting when the sink has a fault, and says so", () => {
    const billing = makeBilling((_, attempt) => {
      if (attempt === 1) throw new Error("a fault")
      return ok
    })
    const lines: Array<string> = []
    return Effect.gen(function*() {
      const { condition } = yield* BillingCondition
      yield* closeOne(3)
      yield* TestClock.adjust("10 seconds")
      const state = condition()
      assert.deepStrictEqual([state._tag, state._tag === "failing" ? state.reason : ""], ["failing", "error"])
      assert.include(lines, "billing: the sink failed")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(billing.tokens(), 3)
      assert.strictEqual(condition()._tag, "ok")
    }).pipe(
      Effect.provide(
        Layer.provideMerge(
          stack(billing),
          Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])
        )
      )
    )
  })

  it.effect("sets the record aside that a broker refuses, without a split", () => {
    const billing = makeBilling((batch) => {
      const [bad, good] = [13, 0].map((wanted) =>
        batch.records.filter((one) => (one.tokens_generated === 13) === (wanted === 13))
      )
      return bad?.length === 0 ? ok : BillingVerdict.Partly({
        accepted: good?.map((one) => one.record_id) ?? [],
        refused: bad?.map((one) => ({ recordId: one.record_id, detail: "too large" })) ?? []
      })
    })
    return Effect.gen(function*() {
      const journal = yield* UsageJournal
      const figures = yield* UsageFigures
      for (let tokens = 1; tokens <= 40; tokens++) yield* closeOne(tokens)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(billing.seen.length, 1)
      assert.deepStrictEqual((yield* journal.setAside).map(({ reason, record }) => [record.tokens_generated, reason]), [
        [13, "too large"]
      ])
      assert.deepStrictEqual([...figures.reports], [["accepted", 1], ["set_aside", 1]])
      assert.strictEqual((yield* journal.balance).waiting.records, 0)
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("says again what is the matter when it is something else", () => {
    const answers = [
      later(),
      later(),
      BillingVerdict.Later({
        reason: "misconfigured",
        detail: "no stream",
        retryAfterMillis: undefined,
        remedy: "create one"
      })
    ]
    const billing = makeBilling((_, attempt) => answers[attempt - 1] ?? ok)
    return Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      yield* Effect.gen(function*() {
        yield* closeOne(3)
        yield* TestClock.adjust("1 minute")
      }).pipe(Effect.provide(Layer.provideMerge(stack(billing), Logger.layer([logger]))))
      assert.deepStrictEqual(lines, [
        "billing: no report can be delivered (HTTP 503); records wait in the journal",
        "billing: the service does not take our reports (no stream); create one; records wait in the journal",
        "billing: reports are accepted again"
      ])
    })
  })

  it.effect("sets nothing aside when the service recovers while a batch is under suspicion", () => {
    let refusals = 0
    // Fails five times, then takes whatever comes.
    const billing = makeBilling(() => ++refusals <= 5 ? later() : ok)
    return Effect.gen(function*() {
      const journal = yield* UsageJournal
      yield* closeOne(1)
      yield* TestClock.adjust("15 seconds")
      yield* closeOne(2)
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual([...billing.accepted.values()].toSorted(), [1, 2])
      assert.deepStrictEqual(yield* journal.setAside, [])
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("catches up after an outage without a stampede", () => {
    let up = false
    const billing = makeBilling(() => up ? ok : later())
    return Effect.gen(function*() {
      yield* Effect.replicateEffect(closeOne(1), 5000, { concurrency: "unbounded" })
      yield* TestClock.adjust("10 minutes")
      up = true
      yield* TestClock.adjust("3 minutes")
      assert.strictEqual(billing.tokens(), 5000)
      const catchUp = billing.seen.slice(-10)
      for (const [index, { at, batch }] of catchUp.slice(1).entries()) {
        assert.isAtMost(batch.records.length, 500)
        assert.isAtLeast(at - catchUp[index]!.at, 100)
      }
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("sends what is left when it stops", () => {
    const billing = makeBilling(() => ok)
    return Effect.gen(function*() {
      const stopping = yield* Effect.replicateEffect(closeOne(1), 700).pipe(
        Effect.provide(stack(billing)),
        Effect.forkChild
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stopping)
      assert.strictEqual(billing.tokens(), 700)
    })
  })

  it.effect("does not keep the sidecar from stopping when the service is silent", () => {
    const silent = Layer.succeed(BillingSink, { send: () => Effect.never })
    return Effect.gen(function*() {
      const stopping = yield* closeOne(1).pipe(
        Effect.provide(stack({ ...makeBilling(() => ok), sink: silent })),
        Effect.forkChild
      )
      yield* TestClock.adjust("5 seconds")
      assert.isDefined(stopping.pollUnsafe())
    })
  })

  it.effect("tells the age of the oldest record that waits", () => {
    let up = false
    const billing = makeBilling(() => up ? ok : later())
    return Effect.gen(function*() {
      const figures = yield* UsageFigures
      yield* closeOne(1)
      yield* TestClock.adjust("1 hour")
      assert.isAtLeast(figures.lag, 3590)
      up = true
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(figures.lag, 0)
    }).pipe(Effect.provide(stack(billing)))
  })

  it.effect("reports to the sink that it is given, whatever the settings say of an endpoint", () => {
    const billing = makeBilling(() => ok)
    const layer = BillingReporter.layer.pipe(
      Layer.provideMerge(MemoryJournal.layer),
      Layer.provideMerge(billing.sink),
      Layer.provideMerge(figuresLayer),
      Layer.provideMerge(configLayer({}))
    )
    return Effect.gen(function*() {
      yield* closeOne(1)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(billing.seen.length, 1)
    }).pipe(Effect.provide(layer))
  })

  it.effect(`loses no token in 24 hours without billing at ${RATE} streams a minute, and keeps its bounds`, () => {
    let up = false
    const billing = makeBilling(() => up ? ok : later())
    const outcomes: ReadonlyArray<Outcome> = ["completed", "completed", "cancelled", "failed"]
    return Effect.gen(function*() {
      const meter = yield* UsageMeter
      const journal = yield* UsageJournal
      let tokens = 0
      let streams = 0
      let most = 0
      const people = Array.from(
        { length: 12 },
        (_, index) => identity({ tenant: `t${index % 3}`, playerId: `p${index % 6}`, modelId: `m${index % 2}` })
      )
      for (let minute = 0; minute < 24 * 60; minute++) {
        const ends = []
        for (let index = 0; index < RATE; index++) {
          const tally = meter.open()
          tally.identity = people[streams % people.length]
          tally.chunks = streams % 97
          tokens += tally.chunks
          ends.push(meter.close(tally, { outcome: outcomes[streams % 4]!, grpcStatus: 0 }))
          streams++
        }
        yield* Effect.all(ends, { concurrency: "unbounded", discard: true })
        most = Math.max(most, (yield* journal.balance).waiting.records)
        yield* TestClock.adjust("1 minute")
      }
      assert.strictEqual(streams, 24 * 60 * RATE)
      assert.isAbove(streams, QUEUE)
      assert.isAtMost(most, QUEUE)
      up = true
      yield* TestClock.adjust("10 minutes")
      const balance = yield* journal.balance
      assert.deepStrictEqual(balance.waiting, { records: 0, tokens: 0 })
      assert.deepStrictEqual(balance.delivered, { records: streams, tokens })
      assert.deepStrictEqual(balance.acknowledged, { records: streams, tokens })
      assert.strictEqual(billing.tokens(), tokens)
    }).pipe(Effect.provide(stack(billing, { offline_queue_size: QUEUE })))
  }, 600_000)
})
