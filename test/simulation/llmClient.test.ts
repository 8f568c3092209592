import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber, Result, Stream } from "effect"
import { LlmClient, type PredictError, type PredictRequest, Status } from "../../src/index.ts"
import { Answer, ScriptedWorker } from "../../src/testing.ts"
import { arrived, pass, records, story, worker } from "./story.ts"

const request: PredictRequest = { model: "qwen-7b", prompt: "你好", tenant: "acme", generation: { maxNewTokens: 100 } }
const texts = (count: number) => Array.from(Answer.tokenTexts(count))

/** Runs while virtual time passes. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>, time = "1 minute" as const) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    yield* pass(time)
    return yield* Fiber.join(fiber)
  })

const failed = <A, R>(effect: Effect.Effect<A, PredictError, R>) =>
  Effect.map(Effect.result(effect), (result) => {
    assert.isTrue(Result.isFailure(result))
    return Result.getOrThrow(Result.flip(result))
  })

const closed = Effect.map(
  records,
  (all) => all.map(({ chunks, outcome, tenant, tokens_generated }) => ({ chunks, outcome, tenant, tokens_generated }))
)

story(
  "in process, a stream brings the worker's tokens and has a record like a gateway's",
  { worker: { answer: Answer.tokens({ tokens: 3, notices: ["[模型加载] wait"] }) } },
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* inTime(Stream.runCollect(LlmClient.tokens(request))), texts(3))
    assert.deepStrictEqual(yield* closed, [{ chunks: 3, outcome: "completed", tenant: "acme", tokens_generated: 3 }])
  }).pipe(Effect.orDie)
)

story(
  "in process, replies have notices, index and the end",
  { worker: { answer: Answer.tokens({ tokens: 1, notices: ["[模型加载] wait"] }) } },
  Effect.gen(function*() {
    const replies = yield* inTime(Stream.runCollect(LlmClient.replies({ ...request, traceId: "t-1" })))
    assert.deepStrictEqual(
      replies.map(({ chunk, endOfStream, index, isNotice, traceId }) => [chunk, isNotice, endOfStream, index, traceId]),
      [
        ["[模型加载] wait", true, false, 0, "t-1"],
        ["t0 ", false, false, 1, "t-1"],
        ["", false, true, 2, "t-1"]
      ]
    )
  }).pipe(Effect.orDie)
)

for (const batch of [1, 20]) {
  story(
    `in process, a stream that is interrupted after five tokens is cancelled at the worker with five, ${batch} at a time`,
    { worker: { answer: Answer.tokens({ tokens: 100, batch, every: 0 }) } },
    Effect.gen(function*() {
      const five = yield* Deferred.make<void>()
      let seen = 0
      const reading = LlmClient.tokens(request).pipe(
        Stream.runForEach(() =>
          ++seen === 5 ? Effect.andThen(Deferred.succeed(five, undefined), Effect.never) : Effect.void
        )
      )
      const fiber = yield* Effect.forkChild(reading, { startImmediately: true })
      yield* inTime(Deferred.await(five))
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(seen, 5)
      assert.deepStrictEqual(yield* closed, [{ chunks: 5, outcome: "cancelled", tenant: "acme", tokens_generated: 5 }])
      assert.deepStrictEqual((yield* arrived).map(({ end }) => end?.fate), ["cancelled"])
    }).pipe(Effect.orDie)
  )
}

story(
  "in process, who takes five tokens has taken five",
  { worker: { answer: Answer.tokens({ tokens: 100, batch: 20, every: 0 }) } },
  Effect.gen(function*() {
    const tokens = yield* inTime(LlmClient.tokens(request).pipe(Stream.take(5), Stream.runCollect))
    assert.deepStrictEqual(tokens, texts(5))
    assert.deepStrictEqual(yield* closed, [{ chunks: 5, outcome: "cancelled", tenant: "acme", tokens_generated: 5 }])
  }).pipe(Effect.orDie)
)

story(
  "in process, what is not pulled stops the worker, and for too long ends the stream",
  { worker: { answer: Answer.tokens({ tokens: 100_000, batch: 100, every: 0 }) } },
  Effect.gen(function*() {
    const fiber = yield* LlmClient.tokens(request).pipe(
      Stream.mapEffect((token) => Effect.as(Effect.sleep("10 minutes"), token)),
      Stream.runDrain,
      Effect.forkChild({ startImmediately: true })
    )
    yield* pass("60 seconds")
    const [call] = yield* arrived
    assert.isBelow(call?.framesSent ?? 0, 100_000)
    yield* pass("20 minutes")
    const { code, delivered, reason } = yield* failed(Fiber.join(fiber))
    assert.deepStrictEqual([code, reason, delivered], [Status.Code.CANCELLED, "slow_reader", 1])
    assert.deepStrictEqual((yield* closed).map(({ chunks, outcome }) => [chunks, outcome]), [[1, "slow_reader"]])
  })
)

story(
  "in process, a stream is held while the worker reloads",
  { worker: { answer: Answer.tokens({ tokens: 2 }) }, config: { reload: { hold_notice: "wait" } } },
  Effect.gen(function*() {
    yield* worker("reload for 20s")
    yield* pass("6 seconds")
    assert.deepStrictEqual(yield* inTime(Stream.runCollect(LlmClient.tokens(request))), texts(2))
    assert.isAbove((yield* records)[0]?.held_ms ?? 0, 5000)
  }).pipe(Effect.orDie)
)

story(
  "in process, a refusal tells code, reason and when to come back",
  {},
  Effect.gen(function*() {
    yield* worker("die")
    yield* pass("1 second")
    const error = yield* failed(Stream.runDrain(LlmClient.tokens(request)))
    assert.deepStrictEqual([error.code, error.reason, error.delivered], [
      Status.Code.UNAVAILABLE,
      "worker_disconnected",
      0
    ])
    assert.isAbove(error.retryAfterMillis ?? 0, 0)
    assert.deepStrictEqual(yield* closed, [])
  })
)

story(
  "in process, a worker that dies after a token has cost one token",
  { worker: { answer: Answer.tokens({ tokens: 50, every: "1 second" }) } },
  Effect.gen(function*() {
    const got: Array<string> = []
    const fiber = yield* LlmClient.tokens(request).pipe(
      Stream.runForEach((token) => Effect.sync(() => void got.push(token))),
      Effect.forkChild({ startImmediately: true })
    )
    yield* pass("1500 millis")
    yield* worker("die")
    yield* pass("1 second")
    const error = yield* failed(Fiber.join(fiber))
    assert.deepStrictEqual([error.code, error.reason, error.delivered], [
      Status.Code.UNAVAILABLE,
      "worker_lost",
      got.length
    ])
    assert.deepStrictEqual((yield* closed).map(({ chunks, outcome }) => [chunks, outcome]), [[
      got.length,
      "worker_lost"
    ]])
  })
)

story(
  "in process, a deadline ends the call here and at the worker",
  { worker: { answer: Answer.tokens({ tokens: 50, every: "1 second" }) } },
  Effect.gen(function*() {
    const error = yield* failed(inTime(Stream.runDrain(LlmClient.tokens(request, { timeout: "2500 millis" }))))
    assert.deepStrictEqual([error.code, error.reason, error.delivered], [Status.Code.DEADLINE_EXCEEDED, "deadline", 3])
    assert.strictEqual((yield* arrived)[0]?.timeoutMillis, 2500)
  })
)

story(
  "in process, a request that the proto file cannot say is refused with the field's name",
  {},
  Effect.gen(function*() {
    const wrong = { ...request, generation: { maxNewTokens: -1 } }
    const error = yield* failed(Stream.runDrain(LlmClient.tokens(wrong)))
    assert.deepStrictEqual([error.code, error.reason], [Status.Code.INVALID_ARGUMENT, "invalid_request"])
    assert.match(error.message, /maxNewTokens/)
    assert.deepStrictEqual(yield* arrived, [])
  })
)

story(
  "in process, the sidecar's own commands are answered, all others by the worker",
  {},
  Effect.gen(function*() {
    const status = yield* inTime(LlmClient.control("sidecar.status"))
    assert.deepStrictEqual([status["status"], status["worker_state"]], ["ok", "Connected"])
    const scripted = yield* ScriptedWorker.ScriptedWorker
    yield* scripted.answerAt(
      "/cy.llm.AiInference/Control",
      Answer.status(Status.Code.PERMISSION_DENIED, "no", { "cy-reason": "mine" })
    )
    const error = yield* failed(inTime(LlmClient.control("list_models")))
    assert.deepStrictEqual([error.code, error.reason, error.message], [Status.Code.PERMISSION_DENIED, "mine", "no"])
  }).pipe(Effect.orDie)
)
