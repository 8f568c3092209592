import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { WorkerConnection } from "../../src/index.ts"
import { Answer, Messages, Recorder, Simulation } from "../../src/testing.ts"
import {
  arrived,
  assertAnswered,
  assertEnded,
  assertGapless,
  assertStatus,
  assertTrailersOnly,
  figure,
  gateway,
  gateways,
  pass,
  records,
  statusHistory,
  story,
  worker
} from "./story.ts"

/** The model is being changed, and the sidecar has noticed. */
const reloadNoticed = (words: string) => Effect.andThen(worker(words), pass("5 seconds"))

const prompts = Effect.map(
  arrived,
  (calls) => calls.map(({ requests }) => Messages.decodeRequest(requests[0] ?? new Uint8Array()).prompt)
)

describe("A reload", () => {
  story(
    "of 30 s with 200 gateways waiting: all are answered in order, none is refused, none is served twice",
    {},
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 30s")
      const waiting = yield* gateways(200, (n) => ({ request: { prompt: String(n) } }))
      yield* pass("20 seconds")
      assert.strictEqual(yield* figure("sidecar_streams_held"), 200)
      assert.lengthOf(yield* arrived, 0)
      yield* pass("10 seconds")
      for (const call of waiting) assertAnswered(call)
      assert.deepStrictEqual(yield* prompts, waiting.map((_, n) => String(n)))
      assert.strictEqual(yield* figure("sidecar_requests_failed_total"), 0)
      assert.strictEqual(yield* figure("sidecar_streams_replayed_total"), 0)
      assert.strictEqual(yield* figure("sidecar_streams_held"), 0)
      assert.strictEqual(yield* figure("sidecar_hold_time_seconds_count"), 200)
      assert.isAbove((yield* figure("sidecar_hold_time_seconds_sum"))!, 200 * 20)
      assert.strictEqual(yield* figure("sidecar_queue_time_seconds_count"), 0)
    })
  )

  story(
    "of 30 s with 300 waiting and 256 places: 44 are refused at once with a retry hint, 256 are answered",
    {},
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 30s")
      const waiting = yield* gateways(300, (n) => ({ request: { prompt: String(n) } }))
      const refused = waiting.slice(256)
      for (const call of refused) {
        yield* call.ended
        assertEnded(call, "RESOURCE_EXHAUSTED", "hold_full", "with a retry hint")
        assertTrailersOnly(call)
        assert.strictEqual(call.seen.endedAt, call.seen.startedAt)
      }
      assert.strictEqual(yield* figure("sidecar_streams_held"), 256)
      yield* pass("1 minute")
      assert.lengthOf(refused, 44)
      for (const call of waiting.slice(0, 256)) assertAnswered(call)
      assert.deepStrictEqual(yield* prompts, waiting.slice(0, 256).map((_, n) => String(n)))
    })
  )

  story(
    "lets the waiting streams go a few at a time, so that the worker is not run over",
    {},
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 20s")
      yield* gateways(100)
      yield* pass("1 minute")
      const perMoment = new Map<number, number>()
      for (const { arrivedAt } of yield* arrived) perMoment.set(arrivedAt, (perMoment.get(arrivedAt) ?? 0) + 1)
      const released = [...perMoment.values()]
      assert.strictEqual(released[0], 8)
      // Slow start: each moment at most a quarter more than the one before it, rounded up.
      for (const [n, count] of released.slice(1).entries()) assert.isAtMost(count, Math.ceil((released[n] ?? 0) * 1.25))
      assert.isAtLeast(released.length, 6)
    })
  )

  story(
    "that takes too long for a stream ends its waiting after hold_timeout_secs",
    { config: { reload: { hold_timeout_secs: 10 } } },
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 5m without eta")
      const call = yield* gateway()
      yield* pass("9900 millis")
      assert.isUndefined(call.seen.endedAt)
      yield* pass("100 millis")
      assertEnded(call, "UNAVAILABLE", "hold_timeout", "with a retry hint")
      assertTrailersOnly(call)
      yield* pass("10 minutes")
      assert.lengthOf(yield* arrived, 0)
      assert.deepInclude((yield* records)[0], { outcome: "refused", held_ms: 10_000, tokens_generated: 0 })
    })
  )

  story(
    "holds a stream no longer than its caller waits",
    {},
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 5m without eta")
      const call = yield* gateway({ timeoutMillis: 4000 })
      yield* pass("3990 millis")
      assert.isUndefined(call.seen.endedAt)
      yield* pass("10 millis")
      assertEnded(call, "DEADLINE_EXCEEDED", "deadline")
      yield* pass("10 minutes")
      assert.lengthOf(yield* arrived, 0)
      assert.deepInclude((yield* records)[0], { outcome: "deadline", grpc_status: 4 })
    })
  )

  story(
    "passes on what is left of the caller's deadline after the wait",
    {},
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 20s")
      const call = yield* gateway({ timeoutMillis: 60_000 })
      yield* pass("30 seconds")
      assertAnswered(call)
      const [seen] = yield* arrived
      assert.approximately(seen?.timeoutMillis ?? 0, 45_000, 50)
    })
  )

  story(
    "forgets a stream that is cancelled meanwhile: the worker never sees it",
    {},
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 20s")
      const [first, second, third] = yield* gateways(3, (n) => ({ request: { prompt: String(n) } }))
      yield* pass("1 second")
      yield* second!.cancel
      assert.strictEqual(yield* figure("sidecar_streams_held"), 2)
      yield* pass("1 minute")
      assertAnswered(first!)
      assertAnswered(third!)
      assert.deepStrictEqual(yield* prompts, ["0", "2"])
      assert.deepInclude((yield* records)[0], { outcome: "cancelled", held_ms: 1000 })
      assert.strictEqual(yield* figure("sidecar_requests_cancelled_total"), 1)
    })
  )

  story(
    "keeps at most max_held_bytes of requests in memory",
    { config: { reload: { max_held_bytes: 10_000 } } },
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 20s")
      const big = { request: { prompt: "x".repeat(4000) } }
      const [first, second] = yield* gateways(2, () => big)
      const third = yield* gateway(big)
      yield* third.ended
      assertEnded(third, "RESOURCE_EXHAUSTED", "hold_full", "with a retry hint")
      const small = yield* gateway()
      yield* pass("1 minute")
      for (const call of [first!, second!, small]) assertAnswered(call)
      // What was let go has given its bytes back.
      yield* reloadNoticed("reload for 20s")
      const again = yield* gateways(2, () => big)
      yield* pass("1 minute")
      for (const call of again) assertAnswered(call)
    })
  )

  story(
    "is explained to a user who asks for it with cy-notice: one message before the answer, never counted",
    {},
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 20s")
      const curious = yield* gateway({ metadata: { "cy-notice": "message" } })
      const plain = yield* gateway()
      assert.strictEqual(curious.seen.replies[0]?.chunk, "[System] Loading new model, ETA 15s...")
      assert.lengthOf(plain.seen.replies, 0)
      yield* pass("1 minute")
      assert.deepStrictEqual(curious.seen.tokens.slice(1), Answer.tokenTexts(5))
      assertGapless(curious)
      assertAnswered(plain)
      const [one] = yield* records
      assert.deepInclude(one, { tokens_generated: 5, chunks: 5, notices: 0, outcome: "completed" })
    })
  )

  story(
    "is explained to everybody when hold_notice is set",
    { config: { reload: { hold_notice: "please wait {eta} s" } } },
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 20s")
      const calls = yield* gateways(3)
      yield* pass("1 minute")
      for (const call of calls) {
        assert.strictEqual(call.seen.replies[0]?.chunk, "please wait 15 s")
        assert.lengthOf(call.seen.replies, 7)
        assertGapless(call)
      }
      assert.strictEqual(yield* figure("sidecar_tokens_processed_total"), 15)
    })
  )

  story(
    "does not touch the streams that run",
    { worker: { answer: Answer.tokens({ tokens: 60, every: "1 second" }) } },
    Effect.gen(function*() {
      const running = yield* gateway()
      yield* pass("5 seconds")
      yield* reloadNoticed("reload for 30s")
      yield* assertStatus("Reloading")
      yield* pass("2 minutes")
      assertAnswered(running, 60)
    })
  )

  story(
    "in which the worker leaves its socket and comes back is still a reload",
    {},
    Effect.gen(function*() {
      const history = yield* statusHistory
      yield* (yield* WorkerConnection).announceReload(30)
      yield* worker("reload for 20s and be gone")
      const calls = yield* gateways(10)
      yield* pass("15 seconds")
      yield* assertStatus("Reloading")
      assert.strictEqual(yield* figure("sidecar_streams_held"), 10)
      yield* pass("10 seconds")
      for (const call of calls) assertAnswered(call)
      assert.deepStrictEqual(history, ["Reloading", "Connected"])
    })
  )

  story(
    "in which the worker is killed holds its streams until another one is there",
    {},
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 30s")
      const calls = yield* gateways(20)
      yield* pass("5 seconds")
      yield* worker("die")
      yield* pass("3 seconds")
      yield* assertStatus("Reloading")
      yield* worker("come back")
      yield* pass("1 second")
      yield* assertStatus("Connected")
      for (const call of calls) assertAnswered(call)
    })
  )

  story(
    "that was announced and took place ends with the word of the worker, not with the first Health answer",
    {},
    Effect.gen(function*() {
      const connection = yield* WorkerConnection
      yield* connection.announceReload(45)
      yield* pass("20 seconds")
      yield* assertStatus("Reloading")
      const call = yield* gateway()
      yield* connection.announceReady
      yield* pass("1 second")
      yield* assertStatus("Connected")
      assertAnswered(call)
    })
  )

  story(
    "longer than max_reload_secs counts as a lost worker, until it says that it is well",
    { config: { reload: { max_reload_secs: 60, hold_timeout_secs: 300 } } },
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 10m without eta")
      const held = yield* gateway()
      yield* pass("59 seconds")
      yield* assertStatus("Reloading")
      yield* pass("2 seconds")
      yield* assertStatus("Disconnected", "ReloadTooLong")
      const late = yield* gateway()
      assertEnded(late, "UNAVAILABLE", "worker_disconnected", "with a retry hint")
      // What was accepted keeps its own limit.
      assert.isUndefined(held.seen.endedAt)
      yield* pass("4 minutes")
      assertEnded(held, "UNAVAILABLE", "hold_timeout", "with a retry hint")
      yield* pass("6 minutes")
      yield* assertStatus("Connected")
    })
  )

  story(
    "has a gateway's cancel in it, an hour of quiet after it, and leaves no stream behind",
    {},
    Effect.gen(function*() {
      yield* reloadNoticed("reload for 25s")
      const calls = yield* gateways(50, (n) => n % 2 === 0 ? {} : { cancelAfter: 200 * n })
      yield* pass("1 hour")
      calls.forEach((call, n) => {
        if (n % 2 === 0) assertAnswered(call)
        else assert.strictEqual(call.seen.left, "cancelled")
      })
      assert.lengthOf(yield* arrived, 25)
      assert.strictEqual(yield* figure("sidecar_active_connections"), 0)
      assert.include((yield* Recorder.Recorder).format(), "timeline reload for 25s")
    })
  )

  story(
    "that is announced in the very moment in which the worker is connected is told to everybody",
    { begins: "at once" },
    Effect.gen(function*() {
      const history = yield* statusHistory
      yield* Simulation.connected
      yield* (yield* WorkerConnection).announceReload(30)
      yield* pass("1 second")
      yield* assertStatus("Reloading")
      assert.deepStrictEqual(history, ["Connected", "Reloading"])
      assert.strictEqual(yield* figure("sidecar_worker_connection_status"), 2)
    })
  )
})
