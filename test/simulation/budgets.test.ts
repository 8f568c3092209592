import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { InferenceProxy } from "../../src/index.ts"
import { Answer, Messages, ScriptedGateway, ScriptedWorker } from "../../src/testing.ts"
import { arrived, assertAnswered, assertEnded, figure, gateway, gateways, pass, story, worker } from "./story.ts"

/** A request of about 50 kB. */
const large = { request: { prompt: "x".repeat(50_000) } }
/** Room for one of them, and not for two. */
const small = { max_buffered_request_bytes: 65_536 }
const mute = Answer.tokens({ tokens: 5, firstAfter: "1 hour" })
const limits = "sidecar_limits_total"

describe("The bytes of requests that are kept", () => {
  story(
    "have one bound for all streams in the queue; what is too much is refused",
    {
      worker: { answer: Answer.tokens({ tokens: 11, every: "1 second" }) },
      config: { server: { ...small, max_worker_streams: 1 } }
    },
    Effect.gen(function*() {
      const running = yield* gateway()
      yield* pass("1 second")
      const waiting = yield* gateway(large)
      const refused = yield* gateway(large)
      yield* pass("1 second")
      assert.isUndefined(waiting.seen.status)
      assertEnded(refused, "RESOURCE_EXHAUSTED", "queue_full", "with a retry hint")
      assert.strictEqual(yield* figure(limits), 1)
      yield* pass("1 minute")
      for (const call of [running, waiting]) assertAnswered(call, 11)
      // What was kept has been given back.
      const next = yield* gateways(1, () => large)
      yield* pass("1 minute")
      for (const call of next) assertAnswered(call, 11)
    })
  )

  story(
    "cost a stream at the worker its right to be sent again, and nothing else",
    { worker: { answer: mute }, config: { server: small } },
    Effect.gen(function*() {
      const kept = yield* gateway(large)
      const given = yield* gateway(large)
      yield* pass("1 second")
      assert.strictEqual((yield* arrived).length, 2)
      yield* worker("die")
      yield* pass("1 second")
      assertEnded(given, "UNAVAILABLE", "worker_lost", "with a retry hint")
      assert.isUndefined(kept.seen.status)
    })
  )
})

describe("A call that is passed on", () => {
  const path = "/cy.llm.AiTraining/StartTraining"
  const carried = "sidecar_open_calls{kind=\"carried\"}"

  story(
    "is opened with its first message, and ends when nothing moves for as long as a first token may take",
    { config: { server: { first_token_timeout_secs: 600 } } },
    Effect.gen(function*() {
      const scripted = yield* ScriptedWorker.ScriptedWorker
      yield* scripted.answerAt(path, Answer.silence)
      const proxy = yield* InferenceProxy
      const open = (messages: ReadonlyArray<Uint8Array>) =>
        ScriptedGateway.openOn(proxy.passthrough, { path, messages, halfClose: "never" })
      const silent = yield* open([])
      yield* pass("1 second")
      assert.strictEqual(yield* figure(carried), 0)
      yield* pass("29 seconds")
      assertEnded(silent, "CANCELLED", "request_timeout")
      const idle = yield* open([Messages.encodeRequest({})])
      yield* pass("599 seconds")
      assert.isUndefined(idle.seen.status)
      assert.strictEqual(yield* figure(carried), 1)
      yield* pass("1 second")
      assertEnded(idle, "UNAVAILABLE", "stream_idle")
      assert.strictEqual(yield* figure(carried), 0)
    })
  )
})
