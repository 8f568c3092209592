import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Random } from "effect"
import { TestClock } from "effect/testing"
import { Code } from "../../src/services/Status.ts"
import { Answer, Messages, Recorder, ScriptedGateway, ScriptedWorker, Simulation, Timeline } from "../../src/testing.ts"
import { reasonOf } from "../support/gateway.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"

const { Action } = Timeline

describe("Simulation", () => {
  it.effect("replays an outage: the stream that waits is answered when the worker is back", () =>
    Effect.gen(function*() {
      yield* Simulation.connected
      yield* TestClock.adjust("10 seconds")
      const call = yield* ScriptedGateway.open({ request: { modelId: "qwen-7b", prompt: "你好" } })
      yield* TestClock.adjust("1 minute")
      const reply = yield* call.handled
      assert.strictEqual(reply.status?.code, Code.OK)
      assert.deepStrictEqual(reply.tokens, Answer.tokenTexts(5))
      assert.isAtLeast(reply.endedAt! - reply.startedAt, 20_000)
    }).pipe(
      Effect.scoped,
      Effect.provide(Simulation.layer({ worker: { timeline: "at 2s: reload for 30s" } }))
    ))

  it.effect("shows a gateway what an outage without a reload looks like", () =>
    Effect.gen(function*() {
      yield* Simulation.connected
      yield* TestClock.adjust("9900 millis")
      const call = yield* ScriptedGateway.open()
      yield* TestClock.adjust("1 second")
      const broken = yield* call.handled
      assert.strictEqual(broken.status?.code, Code.UNAVAILABLE)
      assert.strictEqual(broken.status?.metadata["cy-reason"], "worker_lost")
      const refused = yield* ScriptedGateway.predict()
      assert.strictEqual(refused.status?.code, Code.UNAVAILABLE)
      assert.strictEqual(refused.status?.metadata["cy-reason"], "worker_disconnected")
      assert.isDefined(refused.status?.metadata["grpc-retry-pushback-ms"])
      assert.isUndefined(refused.headers)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* ScriptedGateway.open()).seen.left, undefined)
      yield* TestClock.adjust("5 seconds")
      const trace = (yield* Recorder.Recorder).format()
      assert.include(trace, "10.000s timeline die")
      assert.include(trace, "gateway #3 end OK")
    }).pipe(
      Effect.scoped,
      Effect.provide(Simulation.layer({
        worker: { timeline: "at 10s: die\nat 40s: come back", answer: Answer.tokens({ tokens: 20 }) }
      }))
    ))

  it.effect("gives the same trace for the same seed, whatever the random pauses", () => {
    const run = (seed: string) =>
      Effect.gen(function*() {
        yield* Simulation.connected
        yield* ScriptedGateway.openMany(20, (n) => ({ cancelAfter: 100 * n + 50, request: { prompt: String(n) } }))
        yield* TestClock.adjust("5 minutes")
        return (yield* Recorder.Recorder).format()
      }).pipe(
        Effect.scoped,
        Effect.provide(
          Simulation.layer({
            worker: {
              timeline: "at 500ms: break links\nat 900ms: die\nat 60s: come back",
              answer: Answer.tokens({ tokens: 30 }),
              jitter: Effect.flatMap(Random.nextIntBetween(0, 40), (millis) => Effect.sleep(millis))
            }
          }).pipe(Layer.provideMerge(TestClock.layer()))
        ),
        Random.withSeed(seed)
      )
    return Effect.gen(function*() {
      const first = yield* run("a")
      assert.strictEqual(yield* run("a"), first)
      assert.notStrictEqual(yield* run("b"), first)
      assert.isAbove(first.split("\n").length, 100)
    })
  })

  it.effect("leaves nothing behind at the worker when it closes", () =>
    Effect.gen(function*() {
      const worker = yield* Effect.gen(function*() {
        yield* Simulation.connected
        yield* ScriptedGateway.openMany(10)
        yield* TestClock.adjust("1 second")
        return yield* ScriptedWorker.ScriptedWorker
      }).pipe(Effect.scoped, Effect.provide(Simulation.layer({ worker: { answer: Answer.silence } })))
      assert.strictEqual(worker.openLinks(), 0)
      assert.isTrue(worker.streams().every((stream) => stream.end !== undefined))
    }))

  it.live("serves a real gateway on a real port over the scripted worker", () =>
    Effect.gen(function*() {
      yield* Simulation.connected
      const [address] = yield* Simulation.addresses
      const worker = yield* ScriptedWorker.ScriptedWorker
      const gateway = yield* Effect.acquireRelease(
        Effect.sync(() => new GrpcJsGateway(address!)),
        (gateway) => Effect.sync(() => gateway.close())
      )
      const request = Messages.encodeRequest({ modelId: "qwen-7b", prompt: "hello" })
      const answered = gateway.call({ requests: [request] })
      assert.strictEqual((yield* Effect.promise(() => answered.status)).code, Code.OK)
      assert.deepStrictEqual(
        worker.streams().map((stream) => stream.requests.map((message) => [...message])),
        [[[...request]]]
      )
      yield* worker.perform(Action.Vanish())
      const refused = gateway.call({ requests: [request] })
      const status = yield* Effect.promise(() => refused.status)
      assert.deepStrictEqual([status.code, reasonOf(status)], [Code.UNAVAILABLE, "worker_disconnected"])
    }).pipe(
      Effect.scoped,
      Effect.provide(Simulation.layerServing({ worker: { answer: Answer.tokens({ every: 0 }) } }))
    ))
})
