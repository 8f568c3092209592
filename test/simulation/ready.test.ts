import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { InferenceProxy, Status, WorkerConnection } from "../../src/index.ts"
import { Answer } from "../../src/testing.ts"
import {
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

const ready = Effect.map(InferenceProxy, (proxy) => proxy.ready())

/** Every change of readiness, told as it happens, from now on. */
const told = Effect.map(InferenceProxy, (proxy) => {
  const changes: Array<boolean> = []
  proxy.onReady(() => changes.push(proxy.ready()))
  return changes
})

describe("Ready means that a new stream would be served or held: the sidecar", () => {
  story(
    "is ready in a reload that ends within the hold, and the stream that comes is answered",
    {},
    Effect.gen(function*() {
      const changes = yield* told
      yield* worker("reload for 20s")
      yield* pass("6 seconds")
      assert.isTrue(yield* ready)
      const call = yield* gateway()
      yield* pass("1 minute")
      assertAnswered(call)
      assert.deepStrictEqual(changes, [])
    })
  )

  story(
    "is not, where ready_when says so",
    { config: { health: { ready_when: "connected" } } },
    Effect.gen(function*() {
      const changes = yield* told
      yield* worker("reload for 20s")
      yield* pass("6 seconds")
      assert.isFalse(yield* ready)
      const call = yield* gateway()
      yield* pass("1 minute")
      assertAnswered(call)
      assert.deepStrictEqual(changes, [false, true])
    })
  )

  story(
    "is not while the reload takes longer than a stream is held: streams are refused at once, with the hint",
    {},
    Effect.gen(function*() {
      const connection = yield* WorkerConnection
      const changes = yield* told
      yield* connection.announceReload(45)
      assert.isFalse(yield* ready)
      const call = yield* gateway()
      yield* call.ended
      assertEnded(call, "UNAVAILABLE", "worker_reloading", "with a retry hint")
      assertTrailersOnly(call)
      assert.strictEqual(call.seen.endedAt, call.seen.startedAt)
      assert.approximately(Number(call.seen.status?.metadata["grpc-retry-pushback-ms"]), 45_000, 9000)
      assert.deepStrictEqual(yield* records, [])
      // With 30 seconds to go a stream may wait for it; watchers hear of it, though nothing has happened but time.
      yield* pass("14900 millis")
      assert.isFalse(yield* ready)
      yield* pass("200 millis")
      assert.isTrue(yield* ready)
      assert.deepStrictEqual(changes, [false, true])
      const held = yield* gateway()
      yield* pass("1 second")
      assert.isUndefined(held.seen.endedAt)
      assert.strictEqual(yield* figure("sidecar_request_duration_seconds_count"), 0)
    })
  )

  story(
    "holds a stream whose own deadline is nearer than the worker's estimate: an estimate may be wrong",
    {},
    Effect.gen(function*() {
      yield* worker("reload for 20s")
      yield* pass("6 seconds")
      const call = yield* gateway({ timeoutMillis: 2000 })
      yield* pass("3 seconds")
      assertEnded(call, "DEADLINE_EXCEEDED", "deadline")
    })
  )

  story(
    "is not while there is no room for one more",
    { config: { reload: { max_held_streams: 3 } } },
    Effect.gen(function*() {
      yield* worker("reload for 20s")
      yield* pass("6 seconds")
      const changes = yield* told
      yield* gateways(3)
      assert.isFalse(yield* ready)
      const refused = yield* gateway()
      yield* refused.ended
      assertEnded(refused, "RESOURCE_EXHAUSTED", "hold_full", "with a retry hint")
      yield* pass("1 minute")
      assert.isTrue(yield* ready)
      assert.deepStrictEqual(changes, [false, true])
    })
  )

  story(
    "is not without a worker, but for as long as one stream would be held",
    { config: { reload: { hold_on_disconnect_secs: 4 } } },
    Effect.gen(function*() {
      const changes = yield* told
      yield* worker("die")
      yield* pass("3900 millis")
      assert.isTrue(yield* ready)
      yield* pass("200 millis")
      assert.isFalse(yield* ready)
      yield* worker("come back")
      yield* pass("10 seconds")
      assert.isTrue(yield* ready)
      assert.deepStrictEqual(changes, [false, true])
    })
  )

  story(
    "is not while it drains, nor with all its places taken",
    { worker: { answer: Answer.silence }, config: { server: { max_concurrent_streams: 2 } } },
    Effect.gen(function*() {
      const proxy = yield* InferenceProxy
      const changes = yield* told
      const [first] = yield* gateways(2)
      assert.isFalse(yield* ready)
      yield* first!.cancel
      yield* pass("1 second")
      assert.isTrue(yield* ready)
      yield* proxy.drain
      assert.isFalse(yield* ready)
      yield* proxy.undrain
      assert.deepStrictEqual(changes, [false, true, false, true])
    })
  )

  story(
    "is not while the circuit is open, and is when one stream may probe it",
    { worker: { answer: Answer.status(Code.INTERNAL, "engine") }, config: { circuit_breaker: { trip_after: 2 } } },
    Effect.gen(function*() {
      const changes = yield* told
      for (let n = 0; n < 2; n++) {
        yield* gateway()
        yield* pass("1 second")
      }
      assert.isFalse(yield* ready)
      const refused = yield* gateway()
      yield* refused.ended
      assertEnded(refused, "UNAVAILABLE", "circuit_open", "with a retry hint")
      yield* pass("11 seconds")
      assert.isTrue(yield* ready)
      assert.deepStrictEqual(changes, [false, true])
    })
  )
})
