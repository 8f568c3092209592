import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { InferenceProxy, Status } from "../../src/index.ts"
import { Answer } from "../../src/testing.ts"
import {
  arrived,
  assertAnswered,
  assertEnded,
  assertTrailersOnly,
  figure,
  gateway,
  gateways,
  pass,
  records,
  story,
  worker
} from "./story.ts"

const { Code } = Status
const { silence, tokens } = Answer

describe("A stream", () => {
  story(
    "whose worker ends with OK and without end_of_stream is DATA_LOSS, after all its tokens",
    { worker: { answer: tokens({ endOfStream: false }) } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      assertEnded(call, "DATA_LOSS", "truncated")
      assert.strictEqual(call.seen.status?.metadata["cy-chunks-delivered"], "5")
      assert.lengthOf(call.seen.tokens, 5)
      assert.deepInclude((yield* records)[0], { outcome: "truncated", tokens_generated: 5, grpc_status: 15 })
    })
  )

  story(
    "whose worker ends with OK and nothing else is DATA_LOSS, empty",
    { worker: { answer: Answer.status(Code.OK) } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      assertEnded(call, "DATA_LOSS", "empty_stream")
      assertTrailersOnly(call)
    })
  )

  story(
    "may end without end_of_stream where require_end_of_stream is off",
    { worker: { answer: tokens({ endOfStream: false }) }, config: { server: { require_end_of_stream: false } } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      assert.strictEqual(call.seen.status?.code, Code.OK)
      assert.lengthOf(call.seen.tokens, 5)
    })
  )

  story(
    "whose link breaks after the end_of_stream frame is complete",
    { worker: { answer: (side) => Effect.andThen(tokens()(side), Effect.never) } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      assert.isTrue(call.seen.replies.at(-1)?.endOfStream)
      assert.isUndefined(call.seen.endedAt)
      yield* worker("die")
      yield* pass("1 second")
      assertAnswered(call)
      assert.lengthOf(yield* arrived, 1)
      assert.deepInclude((yield* records)[0], { outcome: "completed", replays: 0 })
    })
  )

  story(
    "carries the worker's own error after all tokens, with its message and trailers",
    {
      worker: {
        answer: tokens({
          tokens: 100,
          batch: 25,
          status: { code: Code.RESOURCE_EXHAUSTED, message: "out of memory", metadata: { "x-gpu": "3" } }
        })
      }
    },
    Effect.gen(function*() {
      const call = yield* gateway({ reader: { every: "100 millis" } })
      yield* pass("1 minute")
      assert.lengthOf(call.seen.tokens, 100)
      assert.strictEqual(call.seen.status?.code, Code.RESOURCE_EXHAUSTED)
      assert.isUndefined(call.seen.status?.metadata["cy-reason"])
      assert.strictEqual(call.seen.status?.message, "out of memory")
      assert.strictEqual(call.seen.status?.metadata["x-gpu"], "3")
      assert.deepInclude((yield* records)[0], { outcome: "failed", grpc_status: 8, tokens_generated: 100 })
    })
  )

  story(
    "is metered by the worker's own count when its trailers have one",
    {
      worker: {
        answer: tokens({
          status: {
            code: Code.OK,
            message: "",
            metadata: { "cy-completion-tokens": "42", "cy-prompt-tokens": "7" }
          }
        })
      }
    },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      assertAnswered(call)
      assert.deepInclude((yield* records)[0], {
        tokens_generated: 42,
        prompt_tokens: 7,
        chunks: 5,
        token_source: "worker"
      })
      assert.strictEqual(yield* figure("sidecar_tokens_processed_total"), 42)
    })
  )

  story(
    "is metered by its chunks when the worker says a count that none can mean",
    {
      worker: {
        answer: tokens({
          status: {
            code: Code.OK,
            message: "",
            metadata: { "cy-completion-tokens": "999999999999999", "cy-prompt-tokens": "-7" }
          }
        })
      }
    },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      assertAnswered(call)
      const [found] = yield* records
      assert.deepInclude(found, { tokens_generated: 5, chunks: 5, token_source: "chunk" })
      assert.notProperty(found, "prompt_tokens")
      assert.strictEqual(yield* figure("sidecar_tokens_processed_total"), 5)
      assert.strictEqual(yield* figure("sidecar_usage_suspect_total"), 2)
    })
  )

  story(
    "is metered by the worker's own count also when no token came",
    {
      worker: {
        answer: tokens({
          tokens: 0,
          status: { code: Code.RESOURCE_EXHAUSTED, message: "", metadata: { "cy-completion-tokens": "3" } }
        })
      }
    },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      assert.strictEqual(call.seen.status?.code, Code.RESOURCE_EXHAUSTED)
      assert.isUndefined(call.seen.status?.metadata["cy-reason"])
      assert.deepInclude((yield* records)[0], { tokens_generated: 3, chunks: 0, token_source: "worker" })
      assert.strictEqual(yield* figure("sidecar_tokens_processed_total"), 3)
    })
  )

  story(
    "without a first token within first_token_timeout_secs ends, and its worker call with it",
    { worker: { answer: silence }, config: { server: { first_token_timeout_secs: 120 } } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("119900 millis")
      assert.isUndefined(call.seen.endedAt)
      yield* pass("100 millis")
      assertEnded(call, "UNAVAILABLE", "stream_idle")
      assert.strictEqual((yield* arrived)[0]?.end?.fate, "cancelled")
      assert.deepInclude((yield* records)[0], { outcome: "timeout" })
    })
  )

  story(
    "may load its model for long: notices do not count as a first token, and do not end the wait",
    { config: { server: { first_token_timeout_secs: 120 } } },
    Effect.gen(function*() {
      yield* worker("reload for 100s")
      const call = yield* gateway()
      yield* pass("3 minutes")
      assertAnswered(call)
      assert.approximately(call.seen.notices.length, 100, 2)
      assert.strictEqual((yield* records)[0]?.tokens_generated, 5)
    })
  )

  story(
    "that is silent for stream_idle_timeout_secs after its first token ends",
    {
      worker: { answer: (side) => Effect.andThen(tokens({ tokens: 3, endOfStream: false })(side), Effect.never) },
      config: { server: { stream_idle_timeout_secs: 30 } }
    },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("30 seconds")
      assert.isUndefined(call.seen.endedAt)
      yield* pass("1 second")
      assertEnded(call, "UNAVAILABLE", "stream_idle")
      assert.strictEqual(call.seen.status?.metadata["cy-chunks-delivered"], "3")
      assert.strictEqual((yield* arrived)[0]?.end?.fate, "cancelled")
    })
  )

  story(
    "with a slow gateway takes its time and loses nothing; the worker waits meanwhile",
    { worker: { answer: tokens({ tokens: 200, every: 0 }) } },
    Effect.gen(function*() {
      const call = yield* gateway({ reader: { every: "10 seconds" }, windowBytes: 200 })
      yield* pass("10 minutes")
      assert.isAtMost((yield* arrived)[0]!.framesSent, 201)
      yield* pass("30 minutes")
      assertAnswered(call, 200)
    })
  )

  story(
    "with a gateway that reads nothing ends after slow_reader_timeout_secs, and frees the worker",
    { worker: { answer: tokens({ tokens: 10_000, batch: 100 }) } },
    Effect.gen(function*() {
      const call = yield* gateway({ reader: { stallAfter: 2 }, windowBytes: 500 })
      yield* pass("119 seconds")
      assert.isUndefined(call.seen.endedAt)
      yield* pass("2 seconds")
      assertEnded(call, "CANCELLED", "slow_reader")
      assert.strictEqual((yield* arrived)[0]?.end?.fate, "cancelled")
      assert.deepInclude((yield* records)[0], { outcome: "slow_reader" })
    })
  )

  story(
    "keeps its deadline while its gateway reads nothing",
    { worker: { answer: tokens({ tokens: 10_000, batch: 100 }) } },
    Effect.gen(function*() {
      const call = yield* gateway({ reader: { stallAfter: 1 }, windowBytes: 500, timeoutMillis: 30_000 })
      yield* pass("29900 millis")
      assert.isUndefined(call.seen.endedAt)
      yield* pass("100 millis")
      assertEnded(call, "DEADLINE_EXCEEDED", "deadline")
      assert.isAbove(call.seen.abandoned, 0)
      assert.strictEqual((yield* arrived)[0]?.end?.fate, "cancelled")
    })
  )

  story(
    "that is cancelled is cancelled at the worker in the same moment",
    { worker: { answer: tokens({ tokens: 100, every: "1 second" }) } },
    Effect.gen(function*() {
      const calls = yield* gateways(20, (n) => ({ cancelAfter: 777 * n + 1, windowBytes: n % 2 === 0 ? 20 : 65_536 }))
      yield* pass("1 minute")
      const seen = yield* arrived
      calls.forEach((call, n) => {
        assert.strictEqual(seen[n]?.end?.fate, "cancelled")
        assert.strictEqual(seen[n]?.end?.at, call.seen.endedAt)
      })
      assert.strictEqual(yield* figure("sidecar_requests_cancelled_total"), 20)
    })
  )

  story(
    "whose gateway leaves after the end_of_stream frame is complete",
    { worker: { answer: (side) => Effect.andThen(tokens()(side), Effect.as(Effect.sleep("5 seconds"), Status.ok)) } },
    Effect.gen(function*() {
      const call = yield* gateway({ cancelAfterMessages: 6 })
      yield* pass("1 minute")
      assert.strictEqual(call.seen.left, "cancelled")
      assert.deepInclude((yield* records)[0], { outcome: "completed", grpc_status: 0, tokens_generated: 5 })
      assert.strictEqual(yield* figure("sidecar_requests_success_total"), 1)
    })
  )

  story(
    "gets no headers before the worker has said something, so that a proxy in front may still retry",
    { worker: { answer: tokens({ firstAfter: "10 seconds", headers: { "x-model": "qwen" } }) } },
    Effect.gen(function*() {
      const call = yield* gateway()
      const silent = yield* gateway()
      yield* pass("5 seconds")
      assert.strictEqual(call.seen.headers?.["x-model"], "qwen")
      yield* silent.cancel
      yield* worker("hang")
      const late = yield* gateway()
      yield* pass("1 second")
      assert.isUndefined(late.seen.headers)
      yield* worker("wake")
      yield* pass("1 minute")
      assertAnswered(call)
      assertAnswered(late)
    })
  )
})

describe("A drain", () => {
  story(
    "takes no new streams and lets the running ones finish",
    { worker: { answer: tokens({ tokens: 20, every: "1 second" }) } },
    Effect.gen(function*() {
      const proxy = yield* InferenceProxy
      const running = yield* gateways(5)
      yield* pass("1 second")
      yield* proxy.drain
      const late = yield* gateway()
      yield* late.ended
      assertEnded(late, "UNAVAILABLE", "draining", "with a retry hint")
      assertTrailersOnly(late)
      yield* pass("1 minute")
      for (const call of running) assertAnswered(call, 20)
      yield* proxy.awaitIdle
      yield* proxy.undrain
      const after = yield* gateway()
      yield* pass("1 minute")
      assertAnswered(after, 20)
    })
  )

  story(
    "that reaches its limit ends what still runs, waits or stalls, at once",
    { worker: { answer: tokens({ tokens: 2000, batch: 50, every: "1 second" }) } },
    Effect.gen(function*() {
      const proxy = yield* InferenceProxy
      const running = yield* gateway()
      const stalled = yield* gateway({ reader: { stallAfter: 1 }, windowBytes: 100 })
      yield* pass("3 seconds")
      yield* worker("reload for 1h without eta")
      yield* pass("5 seconds")
      const held = yield* gateway()
      yield* proxy.drain
      yield* proxy.abortAll
      yield* proxy.awaitIdle
      for (const call of [running, stalled]) assertEnded(call, "UNAVAILABLE", "draining", "without a retry hint")
      assertEnded(held, "UNAVAILABLE", "draining", "with a retry hint")
      assert.isTrue((yield* arrived).every(({ end }) => end?.fate === "cancelled"))
      assert.deepStrictEqual((yield* records).map(({ outcome }) => outcome), ["drained", "drained", "drained"])
    })
  )
})
