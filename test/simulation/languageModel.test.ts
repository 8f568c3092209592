import { assert } from "@effect/vitest"
import { Effect, Fiber, Layer, Result, Stream } from "effect"
import { AiError, LanguageModel } from "effect/ai"
import { WorkerLanguageModel } from "../../src/ai.ts"
import { LlmClient, Status } from "../../src/index.ts"
import { Answer, Messages, ScriptedWorker } from "../../src/testing.ts"
import { arrived, pass, records, story, worker } from "./story.ts"

const model = Layer.effect(LlmClient, LlmClient).pipe((client) =>
  WorkerLanguageModel.layer({
    model: "qwen-7b",
    tenant: "acme",
    generation: { maxNewTokens: 3 },
    render: (prompt) =>
      prompt.content.map((message) => `<${message.role}>${WorkerLanguageModel.textOf(message)}`).join("\n")
  }).pipe(Layer.provide(client))
)

const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
    yield* pass("10 seconds")
    return yield* Fiber.join(fiber)
  })

const conversation = [
  { role: "system" as const, content: "be kind" },
  { role: "user" as const, content: [{ type: "text" as const, text: "你好" }] }
]

story(
  "LanguageModel.streamText streams the worker's text, with the usage it was billed with",
  { worker: { answer: Answer.tokens({ tokens: 3, notices: ["[模型加载] wait"] }) } },
  Effect.gen(function*() {
    const parts = yield* inTime(Stream.runCollect(LanguageModel.streamText({ prompt: conversation })))
    assert.deepStrictEqual(
      parts.map((part) => part.type === "text-delta" ? part.delta : part.type),
      ["response-metadata", "text-start", "t0 ", "t1 ", "t2 ", "text-end", "finish"]
    )
    const last = parts.at(-1)
    assert.isTrue(last?.type === "finish" && last.reason === "length" && last.usage.outputTokens.total === 3)
    const [request] = (yield* arrived)[0]?.requests ?? []
    assert.strictEqual(Messages.decodeRequest(request!).prompt, "<system>be kind\n<user>你好")
    assert.deepStrictEqual((yield* records).map(({ tenant, tokens_generated }) => [tenant, tokens_generated]), [[
      "acme",
      3
    ]])
  }).pipe(Effect.provide(model), Effect.orDie)
)

story(
  "LanguageModel.generateText has the whole text and the worker's own count of tokens",
  {
    worker: {
      answer: Answer.tokens({
        tokens: 2,
        status: { code: 0, message: "", metadata: { "cy-completion-tokens": "17", "cy-prompt-tokens": "5" } }
      })
    }
  },
  Effect.gen(function*() {
    const { finishReason, text, usage } = yield* inTime(LanguageModel.generateText({ prompt: "hello" }))
    assert.deepStrictEqual([text, finishReason], ["t0 t1 ", "length"])
    assert.deepStrictEqual([usage.inputTokens.total, usage.outputTokens.total], [5, 17])
  }).pipe(Effect.provide(model), Effect.orDie)
)

story(
  "LanguageModel.streamText that is left cancels the call at the worker",
  { worker: { answer: Answer.tokens({ tokens: 100 }) } },
  Effect.gen(function*() {
    const deltas = LanguageModel.streamText({ prompt: "hello" }).pipe(
      Stream.filter((part) => part.type === "text-delta"),
      Stream.take(2)
    )
    yield* inTime(Stream.runDrain(deltas))
    assert.deepStrictEqual((yield* arrived).map(({ end }) => end?.fate), ["cancelled"])
    assert.deepStrictEqual((yield* records).map(({ chunks, outcome }) => [outcome, chunks]), [["cancelled", 2]])
  }).pipe(Effect.provide(model), Effect.orDie)
)

const errorOf = (prompt: string) =>
  Effect.gen(function*() {
    const result = yield* Effect.result(inTime(LanguageModel.generateText({ prompt })))
    const error = Result.getOrThrow(Result.flip(result))
    assert.isTrue(AiError.isAiError(error))
    return AiError.isAiError(error) ? [error.reason._tag, error.reason.isRetryable] : []
  })

story(
  "LanguageModel fails with an AiError that says whether to try again",
  {
    worker: {
      answer: Answer.inTurn(
        Answer.status(Status.Code.RESOURCE_EXHAUSTED, "busy", { "grpc-retry-pushback-ms": "500" }),
        Answer.status(Status.Code.INVALID_ARGUMENT, "too long"),
        Answer.tokens({ tokens: 1, endOfStream: false, status: { code: Status.Code.UNAVAILABLE, message: "gone" } })
      )
    }
  },
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* errorOf("a"), ["RateLimitError", true])
    assert.deepStrictEqual(yield* errorOf("b"), ["InvalidRequestError", false])
    assert.deepStrictEqual(yield* errorOf("c"), ["UnknownError", false])
    yield* worker("die")
    yield* pass("1 second")
    assert.deepStrictEqual(yield* errorOf("d"), ["InternalProviderError", true])
    assert.strictEqual((yield* ScriptedWorker.ScriptedWorker).streams().length, 3)
  }).pipe(Effect.provide(model))
)
