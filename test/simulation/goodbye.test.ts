import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { InferenceProxy, Status } from "../../src/index.ts"
import { Answer, ScriptedGateway } from "../../src/testing.ts"
import {
  answers,
  arrived,
  assertAnswered,
  assertEnded,
  assertStatus,
  dials,
  figure,
  gateway,
  gateways,
  pass,
  records,
  story,
  worker
} from "./story.ts"

const { inTurn, silence, status, tokens } = Answer

const assertCut = (call: ScriptedGateway.GatewayCall, delivered: number): void => {
  assert.strictEqual(call.seen.tokens.length, delivered)
  const { code, message, metadata } = call.seen.status ?? Status.ok
  assert.deepStrictEqual([code, message], [Status.Code.UNAVAILABLE, "Cancelling all calls"])
  assert.deepStrictEqual(
    [metadata["cy-reason"], metadata["cy-chunks-delivered"], metadata["cy-safe-to-retry"]],
    ["worker_lost", String(delivered), "false"]
  )
}

describe("A worker that says goodbye", () => {
  story(
    "costs no stream without a token, tells the others what they have, and new ones wait for the next worker",
    { worker: { answer: inTurn(silence, silence, tokens({ tokens: 1000, every: "1 second" }), tokens()) } },
    Effect.gen(function*() {
      yield* pass("1 second")
      const silent = yield* gateways(2)
      yield* pass("1 millis")
      const running = yield* gateway()
      yield* pass("3500 millis")
      yield* worker("stop within 5s")
      yield* pass("1 second")
      yield* assertStatus("Reloading")
      const late = yield* gateways(3)
      yield* pass("3999 millis")
      assert.strictEqual(running.seen.status, undefined)
      yield* pass("1 millis")
      assertCut(running, 9)
      yield* pass("1 second")
      assert.strictEqual(yield* figure("sidecar_streams_held"), 5)
      yield* worker("come back")
      yield* pass("2 seconds")
      for (const call of [...silent, ...late]) assertAnswered(call)
      assert.strictEqual((yield* arrived).length, 3 + 5)
      assert.deepStrictEqual(
        (yield* records).map(({ outcome, replays, tokens_generated }) => [outcome, replays, tokens_generated])
          .toSorted(),
        [
          ["completed", 0, 5],
          ["completed", 0, 5],
          ["completed", 0, 5],
          ["completed", 1, 5],
          ["completed", 1, 5],
          ["worker_lost", 0, 9]
        ]
      )
    })
  )

  story(
    "after end_of_stream has cost nothing",
    {
      worker: {
        answer: (side) => Effect.andThen(tokens()(side), Effect.never)
      }
    },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      assert.strictEqual(call.seen.status, undefined)
      yield* worker("stop within 2s")
      yield* pass("2 seconds")
      assertAnswered(call)
    })
  )

  story(
    "and does not come back is waited for as long as a stream is held, and then is one that is away",
    {},
    Effect.gen(function*() {
      yield* pass("1 second")
      yield* worker("stop within 1s")
      yield* pass("10 seconds")
      const held = yield* gateway()
      yield* pass("19 seconds")
      yield* assertStatus("Reloading")
      yield* pass("1 second")
      yield* assertStatus("Disconnected", "SocketMissing")
      const late = yield* gateway()
      assertEnded(late, "UNAVAILABLE", "worker_disconnected", "with a retry hint")
      yield* pass("10 seconds")
      assertEnded(held, "UNAVAILABLE", "hold_timeout", "with a retry hint")
    })
  )

  story(
    "twice before a stream's first token ends it with its own words, safe to ask again",
    { worker: { answer: silence } },
    Effect.gen(function*() {
      yield* pass("1 second")
      const call = yield* gateway()
      for (let round = 0; round < 2; round++) {
        yield* pass("1 second")
        yield* worker("stop within 1s")
        yield* pass("2 seconds")
        yield* worker("come back")
      }
      assert.strictEqual(call.seen.status?.message, "Cancelling all calls")
      assertEnded(call, "UNAVAILABLE", "worker_lost", "with a retry hint")
      assert.strictEqual(call.seen.status?.metadata["cy-safe-to-retry"], "true")
    })
  )

  story(
    "is another thing than one that answers UNAVAILABLE: that is its word, and goes out as it is",
    { worker: { answer: status(Status.Code.UNAVAILABLE, "no GPU free") } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("1 second")
      assert.deepStrictEqual(call.seen.status, Status.make(Status.Code.UNAVAILABLE, "no GPU free"))
      assert.strictEqual((yield* arrived).length, 1)
      yield* answers(tokens())
      assertAnswered(yield* Effect.tap(gateway(), pass("1 second")))
    })
  )
})

describe("A worker that renews its connections", () => {
  story(
    "refuses no stream and no call of another method, and is never away",
    { worker: { answer: tokens({ every: "300 millis" }) }, config: { health: { check_interval_secs: 600 } } },
    Effect.gen(function*() {
      const proxy = yield* InferenceProxy
      yield* worker("renew connections each 2s")
      const calls: Array<ScriptedGateway.GatewayCall> = []
      const others: Array<ScriptedGateway.GatewayCall> = []
      for (let n = 0; n < 300; n++) {
        calls.push(yield* gateway())
        others.push(yield* ScriptedGateway.openOn(proxy.passthrough, { path: "/cy.llm.AiTraining/ListTrainingJobs" }))
        yield* pass("99 millis")
      }
      yield* pass("5 seconds")
      for (const call of calls) assertAnswered(call)
      // The scripted worker does not know the method; nobody else has answered for it.
      for (const { seen } of others) assert.strictEqual(seen.status?.code, Status.Code.UNIMPLEMENTED)
      assert.isAbove((yield* dials).length, 14)
      assert.strictEqual(yield* figure("sidecar_worker_connection_errors_total"), 0)
      assert.strictEqual(yield* figure("sidecar_streams_replayed_total"), 0)
    })
  )
})
