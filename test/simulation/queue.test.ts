import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { Answer, Messages } from "../../src/testing.ts"
import {
  answers,
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

/** A stream of ten seconds. */
const long = Answer.tokens({ tokens: 11, every: "1 second" })

const prompts = Effect.map(
  arrived,
  (calls) => calls.map(({ requests }) => Messages.decodeRequest(requests[0] ?? new Uint8Array()).prompt)
)

describe("The places at the worker", () => {
  story(
    "are taken by priority, lower first, and among equals in the order of arrival",
    { worker: { answer: long }, config: { server: { max_worker_streams: 1 } } },
    Effect.gen(function*() {
      const first = yield* gateway({ request: { prompt: "first" } })
      const priorities = [5, 1, 5, 1, 0, 9]
      const waiting = yield* gateways(6, (n) => ({ request: { prompt: `${n}`, priority: priorities[n] } }))
      yield* pass("1 second")
      assert.strictEqual(yield* figure("sidecar_streams_queued"), 6)
      yield* pass("2 minutes")
      for (const call of [first, ...waiting.filter((_, n) => n !== 5)]) assertAnswered(call, 11)
      assert.deepStrictEqual(yield* prompts, ["first", "4", "1", "3", "0", "2"])
      // Five streams of ten seconds each: the last in line has waited for a minute by then, and is told so.
      assertEnded(waiting[5]!, "UNAVAILABLE", "queue_timeout", "with a retry hint")
    })
  )

  story(
    "are never more than max_worker_streams, in an hour of traffic",
    { worker: { answer: long }, config: { server: { max_worker_streams: 4, queue_timeout_secs: 3600 } } },
    Effect.gen(function*() {
      yield* gateways(40, (n) => n % 3 === 0 ? { cancelAfter: 2500 * n } : n % 3 === 1 ? { timeoutMillis: 50_000 } : {})
      let most = 0
      for (let n = 0; n < 360; n++) {
        yield* pass("500 millis")
        most = Math.max(most, (yield* arrived).filter(({ end }) => end === undefined).length)
      }
      assert.strictEqual(most, 4)
      yield* pass("1 hour")
      assert.strictEqual(yield* figure("sidecar_active_connections"), 0)
      assert.strictEqual(yield* figure("sidecar_streams_queued"), 0)
    })
  )

  story(
    "are waited for no longer than queue_timeout_secs",
    { worker: { answer: Answer.silence }, config: { server: { max_worker_streams: 1, queue_timeout_secs: 20 } } },
    Effect.gen(function*() {
      yield* gateway()
      const call = yield* gateway()
      yield* pass("19900 millis")
      assert.isUndefined(call.seen.endedAt)
      yield* pass("100 millis")
      assertEnded(call, "UNAVAILABLE", "queue_timeout", "with a retry hint")
      assertTrailersOnly(call)
      assert.deepInclude((yield* records)[0], { outcome: "refused", held_ms: 20_000 })
      assert.strictEqual(yield* figure("sidecar_queue_time_seconds_count"), 1)
      assert.strictEqual(yield* figure("sidecar_queue_time_seconds_sum"), 20)
      assert.strictEqual(yield* figure("sidecar_hold_time_seconds_count"), 0)
    })
  )

  story(
    "are waited for no longer than the caller waits",
    { worker: { answer: Answer.silence }, config: { server: { max_worker_streams: 1 } } },
    Effect.gen(function*() {
      yield* gateway()
      const call = yield* gateway({ timeoutMillis: 3000 })
      yield* pass("3 seconds")
      assertEnded(call, "DEADLINE_EXCEEDED", "deadline")
      assert.lengthOf(yield* arrived, 1)
    })
  )

  story(
    "have a queue with an end: beyond max_queued_streams streams are refused with a retry hint",
    { worker: { answer: long }, config: { server: { max_worker_streams: 2, max_queued_streams: 3 } } },
    Effect.gen(function*() {
      const calls = yield* gateways(8)
      yield* Effect.forEach(calls.slice(5), (call) => call.ended)
      for (const call of calls.slice(5)) {
        assertEnded(call, "RESOURCE_EXHAUSTED", "queue_full", "with a retry hint")
        assertTrailersOnly(call)
      }
      yield* pass("1 minute")
      for (const call of calls.slice(0, 5)) assertAnswered(call, 11)
    })
  )

  story(
    "of streams that are cancelled, while queued or while running, go to the next",
    { worker: { answer: Answer.silence }, config: { server: { max_worker_streams: 1 } } },
    Effect.gen(function*() {
      const [running, queued, next] = yield* gateways(3, (n) => ({ request: { prompt: `${n}` } }))
      yield* pass("1 second")
      yield* queued!.cancel
      yield* running!.cancel
      yield* pass("1 second")
      assert.deepStrictEqual(yield* prompts, ["0", "2"])
      yield* next!.cancel
      assert.strictEqual(yield* figure("sidecar_streams_queued"), 0)
    })
  )

  story(
    "come back with the worker: queued streams and held ones get in after an outage",
    { worker: { answer: long }, config: { server: { max_worker_streams: 2, queue_timeout_secs: 600 } } },
    Effect.gen(function*() {
      const before = yield* gateways(4, (n) => ({ request: { prompt: `before ${n}` } }))
      yield* pass("1 second")
      yield* worker("reload for 20s")
      yield* pass("5 seconds")
      const during = yield* gateways(4, (n) => ({ request: { prompt: `during ${n}` } }))
      yield* pass("5 minutes")
      for (const call of [...before, ...during]) assertAnswered(call, 11)
    })
  )

  story(
    "are given back all at once when the worker dies: the queue waits for the next one, in its order",
    {
      worker: { answer: Answer.silence },
      config: {
        server: { max_worker_streams: 2 },
        reload: { hold_on_disconnect_secs: 60 }
      }
    },
    Effect.gen(function*() {
      const calls = yield* gateways(202, (n) => ({ request: { prompt: `${n}` } }))
      yield* pass("1 second")
      assert.strictEqual(yield* figure("sidecar_streams_queued"), 200)
      yield* worker("die")
      yield* answers(Answer.tokens({ tokens: 1 }))
      yield* pass("5 seconds")
      assert.strictEqual(yield* figure("sidecar_streams_held"), 202)
      yield* worker("come back")
      yield* pass("2 minutes")
      for (const call of calls) assertAnswered(call, 1)
      const seen = yield* prompts
      assert.deepStrictEqual(seen.slice(0, 2), ["0", "1"])
      assert.deepStrictEqual(seen.slice(2).toSorted((a, b) => Number(a) - Number(b)), calls.map((_, n) => `${n}`))
      assert.deepStrictEqual(
        seen.slice(2).filter((prompt) => Number(prompt) > 1),
        calls.slice(2).map((_, n) => `${n + 2}`)
      )
    })
  )

  story(
    "may have a queue of any length when the worker dies",
    {
      worker: { answer: Answer.silence },
      config: { server: { max_worker_streams: 1, max_concurrent_streams: 30_000, max_queued_streams: 30_000 } }
    },
    Effect.gen(function*() {
      const calls = yield* gateways(5_000)
      yield* pass("1 second")
      yield* worker("die")
      yield* pass("1 second")
      yield* Effect.forEach(calls.slice(1), (call) => call.ended)
      for (const call of calls.slice(1)) assertEnded(call, "UNAVAILABLE", "worker_disconnected", "with a retry hint")
    })
  )
})
