import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import * as JournalMeter from "../../src/layers/JournalMeter.ts"
import * as MemoryJournal from "../../src/layers/MemoryJournal.ts"
import * as PromMetrics from "../../src/layers/PromMetrics.ts"
import { Metrics } from "../../src/services/Metrics.ts"
import { UsageJournal } from "../../src/services/UsageJournal.ts"
import { UsageMeter, type UsageTally } from "../../src/services/UsageMeter.ts"
import { configLayer, figuresLayer, identity, UsageFigures } from "../suites/usageSupport.ts"

const layer = JournalMeter.layer.pipe(
  Layer.provideMerge(MemoryJournal.layer),
  Layer.provideMerge(Layer.merge(figuresLayer, configLayer({ billing_endpoint: "http://billing.test" })))
)

describe("JournalMeter", () => {
  it.effect("writes one record of a stream that has ended", () =>
    Effect.gen(function*() {
      const meter = yield* UsageMeter
      const journal = yield* UsageJournal
      const tally = meter.open()
      tally.identity = identity({ tenant: "acme", modelId: "qwen-7b" })
      tally.chunks += 3
      tally.bytes += 40
      tally.ttftMillis = 12.4
      yield* TestClock.adjust("2 seconds")
      yield* meter.close(tally, { outcome: "completed", grpcStatus: 0 })
      const batch = yield* journal.nextBatch(10)
      assert.deepStrictEqual(batch?.records, [{
        record_id: tally.recordId,
        trace_id: "trace",
        model_id: "qwen-7b",
        adapter: "",
        tenant: "acme",
        player_id: "p1",
        prompt_chars: 4,
        tokens_generated: 3,
        chunks: 3,
        bytes: 40,
        notices: 0,
        token_source: "chunk",
        outcome: "completed",
        grpc_status: 0,
        replays: 0,
        held_ms: 0,
        ttft_ms: 12,
        started_at: "1970-01-01T00:00:00.000Z",
        ended_at: "1970-01-01T00:00:02.000Z",
        sidecar_id: journal.sidecarId()
      }])
    }).pipe(Effect.provide(layer)))

  it.effect("writes a stream that is closed twice once", () =>
    Effect.gen(function*() {
      const meter = yield* UsageMeter
      const journal = yield* UsageJournal
      const tally = meter.open()
      tally.chunks = 7
      yield* meter.close(tally, { outcome: "cancelled", grpcStatus: 1 })
      yield* meter.close(tally, { outcome: "completed", grpcStatus: 0 })
      const { delivered } = yield* journal.balance
      assert.deepStrictEqual(delivered, { records: 1, tokens: 7 })
    }).pipe(Effect.provide(layer)))

  it.effect("mints time-ordered UUIDv7 record ids that differ", () =>
    Effect.gen(function*() {
      const meter = yield* UsageMeter
      const ids = Array.from({ length: 10_000 }, () => meter.open().recordId)
      assert.strictEqual(new Set(ids).size, 10_000)
      assert.deepStrictEqual(ids.toSorted(), ids)
      for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    }).pipe(Effect.provide(layer)))

  it.effect("tells the metrics where the tokens are", () =>
    Effect.gen(function*() {
      const meter = yield* UsageMeter
      const figures = yield* UsageFigures
      const first = meter.open()
      first.chunks = 5
      yield* meter.close(first, { outcome: "completed", grpcStatus: 0 })
      meter.open().chunks = 2
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(figures.tokens.get("delivered"), 5)
      assert.strictEqual(figures.tokens.get("waiting"), 5)
      assert.strictEqual(figures.tokens.get("open"), 2)
      assert.strictEqual(figures.records.get("open"), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("counts what a biller should look at, and tells the worker's absurd words once", () =>
    Effect.gen(function*() {
      const meter = yield* UsageMeter
      const figures = yield* UsageFigures
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${String(message)}`))
      const end = (part: Partial<UsageTally>) =>
        meter.close(Object.assign(meter.open(), part), { outcome: "completed", grpcStatus: 0 }).pipe(
          Effect.provide(Logger.layer([logger]))
        )
      yield* end({ chunks: 3 })
      yield* end({ chunks: 3, largeChunks: 1, workerTokens: 900 })
      assert.strictEqual(figures.suspects.size, 0)
      yield* end({ chunks: 3, largeChunks: 2 })
      yield* end({ chunks: 3, doubtedTokens: "9".repeat(15) })
      yield* end({ chunks: 3, doubtedTokens: "x\n".repeat(5000), doubtedPrompt: "-1" })
      assert.deepStrictEqual([...figures.suspects], [["large_chunk", 1], ["completion_tokens", 2], [
        "prompt_tokens",
        1
      ]])
      assert.strictEqual(lines.length, 1)
      assert.match(lines[0]!, /^Warn: metering: the worker said cy-completion-tokens: "9{15}", which is no count/)
    }).pipe(Effect.provide(layer)))

  it.effect("has the sums of this moment for whoever reads the metrics, and keeps nobody waiting for a disk", () =>
    Effect.gen(function*() {
      const meter = yield* UsageMeter
      const metrics = yield* Metrics
      const waiting = Effect.map(metrics.figures, (figures) => figures[`sidecar_usage_tokens{state="waiting"}`])
      assert.strictEqual(yield* waiting, 0)
      yield* meter.close(Object.assign(meter.open(), { chunks: 5 }), { outcome: "completed", grpcStatus: 0 })
      assert.strictEqual(yield* waiting, 5)
      assert.include((yield* metrics.scrape).body, `sidecar_usage_tokens{state="waiting"} 5`)
      yield* metrics.beforeReading(Effect.never)
      const read = yield* Effect.forkChild(waiting, { startImmediately: true })
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(read), 5)
    }).pipe(
      Effect.scoped,
      Effect.provide(JournalMeter.layer.pipe(
        Layer.provideMerge(MemoryJournal.layer),
        Layer.provideMerge(Layer.merge(PromMetrics.layer, configLayer({ billing_endpoint: "http://billing.test" })))
      ))
    ))

  it.effect("asks a journal that does not answer once, however often somebody reads", () => {
    let asked = 0
    const unused = () => undefined
    const silent = Layer.mock(UsageJournal)({
      sidecarId: () => "",
      generation: () => 1,
      opened: unused,
      checkpoint: unused,
      condition: () => ({ _tag: "ok" }),
      balance: Effect.suspend(() => {
        asked++
        return Effect.never
      })
    })
    return Effect.gen(function*() {
      const metrics = yield* Metrics
      for (let reader = 0; reader < 20; reader++) {
        const read = yield* Effect.forkChild(metrics.figures, { startImmediately: true })
        yield* TestClock.adjust("100 millis")
        yield* Fiber.join(read)
      }
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(asked, 1)
    }).pipe(Effect.provide(
      JournalMeter.layer.pipe(Layer.provideMerge(Layer.merge(PromMetrics.layer, silent)))
    ))
  })
})
