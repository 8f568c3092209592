import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { Status } from "../../src/index.ts"
import { Answer } from "../../src/testing.ts"
import { answers, arrived, assertAnswered, assertEnded, figure, gateway, pass, story } from "./story.ts"

const { Code } = Status
const fails = Answer.status(Code.INTERNAL, "CUDA error")

/** One stream after the other, each with time to end. */
const oneByOne = (count: number) =>
  Effect.forEach(Array.from({ length: count }), () => Effect.tap(gateway(), () => pass("1 second")))

const states = ["closed", "half_open", "open"]

const circuit = Effect.map(figure("sidecar_circuit_state"), (value) => states[value ?? -1])

describe("The circuit breaker", () => {
  story(
    "opens after trip_after failures in a row, lets one stream probe after open_secs, and closes by its success",
    { worker: { answer: fails } },
    Effect.gen(function*() {
      for (const call of yield* oneByOne(5)) assert.strictEqual(call.seen.status?.message, "CUDA error")
      for (const call of yield* oneByOne(3)) {
        assertEnded(call, "UNAVAILABLE", "circuit_open", "with a retry hint")
        assert.isAtMost(Number(call.seen.status?.metadata["grpc-retry-pushback-ms"]), 10_000)
      }
      assert.lengthOf(yield* arrived, 5)
      yield* answers(Answer.tokens({ firstAfter: "2 seconds" }))
      yield* pass("10 seconds")
      const probe = yield* gateway()
      yield* pass("1 second")
      const meanwhile = yield* gateway()
      yield* meanwhile.ended
      assertEnded(meanwhile, "UNAVAILABLE", "circuit_open", "with a retry hint")
      yield* pass("5 seconds")
      assertAnswered(probe)
      const later = yield* oneByOne(10)
      yield* pass("10 seconds")
      for (const call of later) assertAnswered(call)
      assert.lengthOf(yield* arrived, 16)
    })
  )

  story(
    "stays open when the probe fails, too",
    { worker: { answer: fails } },
    Effect.gen(function*() {
      yield* oneByOne(5)
      for (let n = 0; n < 30; n++) {
        yield* pass("10 seconds")
        yield* oneByOne(2)
      }
      assert.lengthOf(yield* arrived, 5 + 30)
      yield* answers(Answer.tokens())
      yield* pass("10 seconds")
      const [probe, after] = yield* oneByOne(2)
      assertAnswered(probe!)
      assertAnswered(after!)
    })
  )

  story(
    "counts failures in a row only",
    {},
    Effect.gen(function*() {
      for (let round = 0; round < 10; round++) {
        yield* answers(fails)
        yield* oneByOne(4)
        yield* answers(Answer.tokens())
        for (const call of yield* oneByOne(1)) assertAnswered(call)
      }
    })
  )

  const innocent = [
    ["INVALID_ARGUMENT", Answer.status(Code.INVALID_ARGUMENT, "no such thing")],
    ["NOT_FOUND", Answer.status(Code.NOT_FOUND, "no such model")],
    ["UNAUTHENTICATED", Answer.status(Code.UNAUTHENTICATED, "who are you")],
    ["PERMISSION_DENIED", Answer.status(Code.PERMISSION_DENIED, "not yours")],
    ["RESOURCE_EXHAUSTED", Answer.status(Code.RESOURCE_EXHAUSTED, "queue full")]
  ] as const
  for (const [name, answer] of innocent) {
    story(
      `counts ${name} for nothing`,
      { worker: { answer } },
      Effect.gen(function*() {
        for (const { seen: { status } } of yield* oneByOne(20)) {
          assert.deepStrictEqual([status?.code, status?.metadata["cy-reason"]], [Code[name], undefined])
        }
        assert.lengthOf(yield* arrived, 20)
      })
    )
  }

  story(
    "counts cancellation and deadlines for nothing",
    { worker: { answer: Answer.silence } },
    Effect.gen(function*() {
      for (let n = 0; n < 20; n++) {
        yield* gateway(n % 2 === 0 ? { cancelAfter: 500 } : { timeoutMillis: 500 })
        yield* pass("1 second")
      }
      assert.lengthOf(yield* arrived, 20)
      yield* answers(Answer.tokens())
      for (const call of yield* oneByOne(1)) assertAnswered(call)
    })
  )

  story(
    "counts a worker that fails after its first frame for nothing: it has opened the stream",
    { worker: { answer: Answer.tokens({ tokens: 2, status: { code: Code.INTERNAL, message: "late" } }) } },
    Effect.gen(function*() {
      for (const call of yield* oneByOne(20)) {
        assert.strictEqual(call.seen.status?.message, "late")
        assert.lengthOf(call.seen.tokens, 2)
      }
      assert.lengthOf(yield* arrived, 20)
    })
  )

  story(
    "tells its state in the metrics",
    { worker: { answer: fails } },
    Effect.gen(function*() {
      assert.strictEqual(yield* circuit, "closed")
      yield* oneByOne(5)
      assert.strictEqual(yield* circuit, "open")
      yield* answers(Answer.tokens({ firstAfter: "5 seconds" }))
      yield* pass("10 seconds")
      yield* gateway()
      yield* pass("1 second")
      assert.strictEqual(yield* circuit, "half_open")
      yield* pass("10 seconds")
      assert.strictEqual(yield* circuit, "closed")
      assert.strictEqual(yield* figure("sidecar_requests_failed_total"), 5)
    })
  )
})
