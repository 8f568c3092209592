import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { Status } from "../../src/index.ts"
import { Answer, Messages } from "../../src/testing.ts"
import {
  answers,
  arrived,
  assertAnswered,
  assertEnded,
  assertGapless,
  assertStatus,
  figure,
  gateway,
  gateways,
  pass,
  records,
  story,
  worker
} from "./story.ts"

const { inTurn, silence, tokens } = Answer

const notices = ["[模型加载] 1/3\n", "[模型加载] 2/3\n", "[模型加载] 3/3\n"]

describe("A link that breaks", () => {
  story(
    "before the first token is not seen by the gateway: the stream is sent again, byte for byte",
    { worker: { answer: inTurn(silence, tokens()) } },
    Effect.gen(function*() {
      const call = yield* gateway({ request: { prompt: "说一个故事", traceId: "trace-1", priority: 3 } })
      yield* pass("1 minute")
      yield* worker("break links")
      yield* pass("10 seconds")
      assertAnswered(call)
      const [first, second, third] = yield* arrived
      assert.isUndefined(third)
      assert.isNotEmpty(first?.requests)
      assert.deepStrictEqual(second?.requests, first?.requests)
      assert.isDefined(second?.halfClosedAt)
      assert.deepInclude((yield* records)[0], { replays: 1, tokens_generated: 5, outcome: "completed" })
      assert.strictEqual(yield* figure("sidecar_streams_replayed_total"), 1)
    })
  )

  story(
    "by the death of the worker holds the stream until the next one is there",
    { worker: { answer: inTurn(silence, tokens()) } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("10 seconds")
      yield* worker("die")
      yield* pass("20 seconds")
      yield* assertStatus("Disconnected")
      assert.strictEqual(yield* figure("sidecar_streams_held"), 1)
      yield* worker("come back")
      yield* pass("1 second")
      assertAnswered(call)
    })
  )

  story(
    "after loading notices repeats none of them, and index stays gapless",
    { worker: { answer: tokens({ notices, firstAfter: "30 seconds" }) } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("10 seconds")
      assert.deepStrictEqual(call.seen.notices, notices)
      yield* worker("break links")
      yield* pass("2 minutes")
      assertAnswered(call)
      assert.deepStrictEqual(call.seen.notices, notices)
      assertGapless(call)
      assert.deepInclude((yield* records)[0], { notices: 3, tokens_generated: 5, chunks: 5, replays: 1 })
    })
  )

  story(
    "after a notice of the sidecar's own keeps index gapless, too",
    { worker: { answer: tokens({ notices, firstAfter: "10 seconds" }) } },
    Effect.gen(function*() {
      yield* worker("reload for 10s")
      yield* pass("5 seconds")
      const call = yield* gateway({ metadata: { "cy-notice": "message" } })
      yield* pass("10 seconds")
      assert.lengthOf(call.seen.replies, 1 + 3)
      yield* worker("break links")
      yield* pass("1 minute")
      assert.strictEqual(call.seen.status?.code, Status.Code.OK)
      assert.deepStrictEqual(call.seen.notices, notices)
      assert.deepStrictEqual(call.seen.tokens.slice(1), Answer.tokenTexts(5))
      assertGapless(call)
    })
  )

  story(
    "after a token is told to the gateway, with the number of tokens, and nothing is sent again",
    { worker: { answer: tokens({ tokens: 50, every: "1 second" }) } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("9500 millis")
      yield* worker("break links")
      yield* pass("1 minute")
      assertEnded(call, "UNAVAILABLE", "worker_lost", "without a retry hint")
      assert.strictEqual(call.seen.status?.message, "Worker connection lost after 10 tokens")
      assert.strictEqual(call.seen.status?.metadata["cy-chunks-delivered"], "10")
      assert.strictEqual(call.seen.status?.metadata["cy-safe-to-retry"], "false")
      assert.deepStrictEqual(call.seen.tokens, Answer.tokenTexts(10))
      assert.lengthOf(yield* arrived, 1)
      assert.deepInclude((yield* records)[0], { outcome: "worker_lost", tokens_generated: 10, replays: 0 })
    })
  )

  story(
    "under a request larger than replay_max_bytes is told to the gateway, which may try again",
    { worker: { answer: inTurn(silence, tokens()) }, config: { reload: { replay_max_bytes: 1000 } } },
    Effect.gen(function*() {
      const call = yield* gateway({ request: { prompt: "x".repeat(1000) } })
      yield* pass("1 second")
      yield* worker("break links")
      yield* pass("1 minute")
      assertEnded(call, "UNAVAILABLE", "worker_lost", "with a retry hint")
      assert.strictEqual(call.seen.status?.metadata["cy-safe-to-retry"], "true")
      assert.strictEqual(call.seen.status?.metadata["cy-chunks-delivered"], "0")
      assert.lengthOf(yield* arrived, 1)
    })
  )

  story(
    "a second time ends the stream: it is sent again once only",
    { worker: { answer: silence } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      yield* worker("break links")
      yield* pass("5 seconds")
      assert.lengthOf(yield* arrived, 2)
      assert.isUndefined(call.seen.endedAt)
      yield* worker("break links")
      yield* pass("1 minute")
      assertEnded(call, "UNAVAILABLE", "worker_lost", "with a retry hint")
      assert.lengthOf(yield* arrived, 2)
    })
  )

  story(
    "under a hundred streams, some with tokens and some without: each ends by its own rule",
    { worker: { answer: silence } },
    Effect.gen(function*() {
      const silent = yield* gateways(50)
      yield* pass("1 second")
      yield* answers(tokens({ tokens: 40, every: "1 second" }))
      const talking = yield* gateways(50)
      yield* pass("10 seconds")
      yield* worker("die")
      yield* pass("8 seconds")
      yield* worker("come back")
      yield* pass("5 minutes")
      for (const call of silent) assertAnswered(call, 40)
      for (const call of talking) assertEnded(call, "UNAVAILABLE", "worker_lost")
      assert.strictEqual(yield* figure("sidecar_streams_replayed_total"), 50)
      assert.lengthOf(yield* records, 100)
    })
  )

  story(
    "while the stream's gateway leaves does not bring the stream back",
    { worker: { answer: silence } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      yield* worker("die")
      yield* pass("1 second")
      yield* call.cancel
      yield* worker("come back")
      yield* pass("1 minute")
      assert.lengthOf(yield* arrived, 1)
      assert.deepInclude((yield* records)[0], { outcome: "cancelled", replays: 1 })
    })
  )

  story(
    "by RST_STREAM on every stream, with the link alive, is one more reason to send again",
    { worker: { answer: inTurn(silence, silence, silence, tokens()) } },
    Effect.gen(function*() {
      const calls = yield* gateways(3, (n) => ({ request: { prompt: String(n) } }))
      yield* pass("1 second")
      yield* worker("reset streams")
      yield* pass("10 seconds")
      for (const call of calls) assertAnswered(call)
      const again = (yield* arrived).slice(3).map(({ requests }) => Messages.decodeRequest(requests[0]!).prompt)
      assert.deepStrictEqual(again, ["0", "1", "2"])
    })
  )
})
