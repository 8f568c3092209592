import { assert, describe, it } from "@effect/vitest"
import { Effect, Random } from "effect"
import { InferenceProxy, type StreamReport, StreamReports } from "../../src/index.ts"
import { Answer, Simulation } from "../../src/testing.ts"
import { gateway, pass, records, worker } from "./story.ts"

/** All reports from now on. */
const reported = Effect.gen(function*() {
  const reports: Array<StreamReport> = []
  yield* (yield* StreamReports).subscribe((report) => void reports.push(report))
  return reports
})

const options: Simulation.Options = {
  worker: { answer: Answer.tokens({ tokens: 10, every: "1 second" }) },
  config: { server: { max_worker_streams: 1 } }
}

describe("The report of a stream", () => {
  it.effect("is told once, with what the record and the gateway have", () =>
    Effect.gen(function*() {
      yield* Simulation.connected
      const reports = yield* reported
      yield* gateway({ request: { modelId: "qwen-7b", traceId: "t-1" } })
      yield* gateway({ timeoutMillis: 14_500 })
      yield* pass("1 minute")
      assert.deepStrictEqual(
        reports.map(({ code, outcome, reason, tokens }) => [outcome, reason, code, tokens]),
        [["completed", "", 0, 10], ["deadline", "deadline", 4, 6]]
      )
      assert.deepStrictEqual(
        reports.map(({ recordId }) => recordId),
        (yield* records).map(({ record_id }) => record_id)
      )
      const [first, second] = reports
      assert.deepStrictEqual([first?.model, first?.traceId, first?.peer], ["qwen-7b", "t-1", "127.0.0.1:40000"])
      assert.strictEqual(second?.durationMillis, 14_500)
      assert.deepStrictEqual([second?.heldMillis, second?.queuedMillis], [0, 9000])
    }).pipe(Effect.scoped, Effect.provide(Simulation.layer(options)), Random.withSeed("reports")))

  it.effect("is told of a refusal, which has no record", () =>
    Effect.gen(function*() {
      yield* Simulation.connected
      yield* worker("die")
      yield* pass("100 millis")
      const reports = yield* reported
      yield* gateway()
      yield* pass("1 second")
      assert.deepStrictEqual(
        reports.map(({ code, outcome, reason, recordId }) => [outcome, reason, code, recordId]),
        [["refused", "worker_disconnected", 14, undefined]]
      )
    }).pipe(Effect.scoped, Effect.provide(Simulation.layer(options)), Random.withSeed("refusals")))
})

describe("The streams under way", () => {
  it.effect("can be looked at, and one of them ended", () =>
    Effect.gen(function*() {
      yield* Simulation.connected
      const proxy = yield* InferenceProxy
      const running = yield* gateway({ request: { modelId: "qwen-7b", traceId: "t-1" }, timeoutMillis: 60_000 })
      const waiting = yield* gateway()
      yield* pass("2500 millis")
      const seen = proxy.running()
      assert.deepStrictEqual(
        seen.map(({ ageMillis, deadlineInMillis, model, state, tokens }) => [
          state,
          tokens,
          model,
          ageMillis,
          deadlineInMillis
        ]),
        [["at the worker", 3, "qwen-7b", 2500, 57_500], ["queued", 0, "qwen-7b", 2500, undefined]]
      )
      assert.isFalse(proxy.kill("nobody"))
      assert.isTrue(proxy.kill(seen[0]?.id ?? ""))
      yield* pass("1 second")
      assert.deepStrictEqual(
        [running.seen.status?.code, running.seen.status?.metadata["cy-reason"], running.seen.tokens.length],
        [10, "killed", 3]
      )
      assert.strictEqual(running.seen.status?.metadata["cy-safe-to-retry"], "false")
      assert.deepStrictEqual(proxy.running().map(({ state }) => state), ["at the worker"])
      yield* pass("1 minute")
      assert.strictEqual(waiting.seen.tokens.length, 10)
      assert.deepStrictEqual((yield* records).map(({ chunks, outcome }) => [outcome, chunks]), [
        ["drained", 3],
        ["completed", 10]
      ])
    }).pipe(Effect.scoped, Effect.provide(Simulation.layer(options)), Random.withSeed("under way")))
})
