import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { Answer, Messages } from "../../src/testing.ts"
import {
  answers,
  arrived,
  assertAnswered,
  assertEnded,
  figure,
  gateway,
  gateways,
  pass,
  records,
  story
} from "./story.ts"

/** A call that never sends a request. */
const silent = { messages: [], halfClose: "never" } as const

/** The gauge of such calls. */
const SILENT = "sidecar_open_calls{kind=\"silent\"}"

const slow = Answer.tokens({ tokens: 11, every: "1 second" })

describe("Calls without a request", () => {
  story(
    "hold no place at the worker, are no streams of it, have no record, and end after a while",
    {
      config: { server: { max_worker_streams: 2, max_concurrent_streams: 4, first_message_timeout_secs: 20 } }
    },
    Effect.gen(function*() {
      const quiet = yield* gateways(4, () => silent)
      yield* pass("1 second")
      assert.strictEqual((yield* arrived).length, 0)
      assert.strictEqual(yield* figure(SILENT), 4)
      const served = yield* gateways(4, () => ({}))
      yield* pass("1 second")
      for (const call of served) assertAnswered(call)
      yield* pass("17 seconds")
      for (const call of quiet) assert.isUndefined(call.seen.status)
      yield* pass("1 second")
      for (const call of quiet) assertEnded(call, "CANCELLED", "request_timeout", "without a retry hint")
      assert.strictEqual(yield* figure(SILENT), 0)
      assert.strictEqual(yield* figure("sidecar_active_connections"), 0)
      assert.strictEqual(yield* figure("sidecar_limits_total"), 4)
      assert.strictEqual((yield* records).length, 4)
    })
  )

  story(
    "are bounded by themselves, and keep no stream out",
    { config: { server: { max_concurrent_streams: 3 } } },
    Effect.gen(function*() {
      const patient = yield* gateway({ ...silent, peer: { address: "10.0.0.1:1", trusted: false } })
      const greedy = yield* gateways(4, () => ({ ...silent, peer: { address: "10.0.0.2:1", trusted: false } }))
      yield* pass("1 second")
      // Of those who took most, the oldest make room.
      for (const call of greedy.slice(0, 2)) {
        assertEnded(call, "RESOURCE_EXHAUSTED", "too_many_calls", "with a retry hint")
      }
      for (const call of [patient, ...greedy.slice(2)]) assert.isUndefined(call.seen.status)
      assert.strictEqual(yield* figure(SILENT), 3)
      const served = yield* gateway()
      yield* pass("1 second")
      assertAnswered(served)
      assert.isUndefined(patient.seen.status)
    })
  )

  story(
    "leave, let their deadline pass and are sent away by a drain, each under its own name",
    {},
    Effect.gen(function*() {
      const cancelled = yield* gateway({ ...silent, cancelAfter: "2 seconds" })
      const vanished = yield* gateway({ ...silent, vanishAfter: "2 seconds" })
      const late = yield* gateway({ ...silent, timeoutMillis: 3000 })
      yield* pass("4 seconds")
      assert.deepStrictEqual([cancelled.seen.left, vanished.seen.left], ["cancelled", "vanished"])
      assertEnded(late, "DEADLINE_EXCEEDED", "deadline")
      assert.strictEqual(yield* figure(SILENT), 0)
      assert.strictEqual(yield* figure("sidecar_requests_cancelled_total"), 2)
      assert.strictEqual(yield* figure("sidecar_active_connections"), 0)
      assert.strictEqual((yield* records).length, 0)
    })
  )

  story(
    "become streams with their half-close, as before",
    {},
    Effect.gen(function*() {
      const call = yield* gateway({ messages: [] })
      yield* pass("1 second")
      assert.strictEqual((yield* arrived).length, 1)
      // The worker's own words.
      assert.strictEqual(call.seen.status?.message, "Empty request stream")
      assert.strictEqual((yield* records).length, 1)
    })
  )

  story(
    "are admitted like any other when the request comes late",
    { config: { server: { max_concurrent_streams: 1 } }, worker: { answer: slow } },
    Effect.gen(function*() {
      const running = yield* gateway()
      yield* pass("1 second")
      const refused = yield* gateway()
      yield* pass("1 second")
      assertEnded(refused, "RESOURCE_EXHAUSTED", "too_many_streams")
      yield* pass("20 seconds")
      assertAnswered(running, 11)
      yield* answers(Answer.tokens({ tokens: 5 }))
      const next = yield* gateway({ messages: [Messages.encodeRequest({ modelId: "m" })], halfClose: "never" })
      yield* pass("1 second")
      assertAnswered(next)
    })
  )
})
