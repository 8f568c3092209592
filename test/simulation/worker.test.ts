import { assert, describe } from "@effect/vitest"
import { Effect, Random } from "effect"
import { Answer, ScriptedWorker } from "../../src/testing.ts"
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
  statusHistory,
  story,
  worker
} from "./story.ts"

const dialTimes = Effect.map(dials, (all) => all.map(({ at }) => at))

describe("A worker", () => {
  story(
    "that says healthy = false gets no new streams and finishes those it has",
    { worker: { answer: Answer.tokens({ tokens: 30, every: "1 second" }) } },
    Effect.gen(function*() {
      const running = yield* gateway()
      yield* worker("healthy = false")
      yield* pass("5 seconds")
      yield* assertStatus("Disconnected", "Unhealthy")
      const refused = yield* gateway()
      assertEnded(refused, "UNAVAILABLE", "worker_unhealthy", "with a retry hint")
      yield* pass("1 minute")
      assertAnswered(running, 30)
      yield* worker("healthy = true")
      yield* pass("5 seconds")
      yield* assertStatus("Connected")
    })
  )

  story(
    "whose threads are all busy streaming starves its Health and stays connected",
    { worker: { threads: 10, answer: Answer.tokens({ tokens: 1200, every: "1 second" }) } },
    Effect.gen(function*() {
      const history = yield* statusHistory
      const calls = yield* gateways(10)
      yield* pass("21 minutes")
      for (const call of calls) assertAnswered(call, 1200)
      // Told once, as a detail.
      assert.deepStrictEqual(history, ["Connected"])
      yield* assertStatus("Connected")
    })
  )

  story(
    "that hangs is given up after failure_threshold probes, and is back when it wakes, without a restart",
    {},
    Effect.gen(function*() {
      const history = yield* statusHistory
      yield* worker("hang")
      yield* pass("15 seconds")
      assert.deepStrictEqual(history, [])
      yield* pass("2 seconds")
      assert.deepStrictEqual(history, ["Disconnected HealthTimeout"])
      yield* pass("5 minutes")
      yield* worker("wake")
      yield* pass("10 seconds")
      yield* assertStatus("Connected")
      assertAnswered(yield* Effect.tap(gateway(), () => pass("1 second")))
      assert.strictEqual((yield* arrived).at(-1)?.process, 1)
    })
  )

  story(
    "that hangs under running streams takes them along when it is given up",
    { worker: { answer: Answer.tokens({ tokens: 1000, every: "1 second" }) } },
    Effect.gen(function*() {
      const call = yield* gateway()
      yield* pass("10 seconds")
      yield* worker("hang")
      yield* pass("30 seconds")
      assertEnded(call, "UNAVAILABLE", "worker_lost")
      assert.isAtMost(call.seen.endedAt! - call.seen.startedAt, 10_000 + 3 * 5000 + 2000 + 5000)
    })
  )

  story(
    "that says GOAWAY finishes its streams; new ones take a new link at once",
    { worker: { answer: Answer.tokens({ tokens: 20, every: "1 second" }) } },
    Effect.gen(function*() {
      const running = yield* gateway()
      yield* pass("5 seconds")
      yield* worker("send GOAWAY")
      yield* pass("100 millis")
      yield* assertStatus("Connected")
      const fresh = yield* gateway()
      yield* pass("1 minute")
      assertAnswered(running, 20)
      assertAnswered(fresh, 20)
      assert.lengthOf(yield* dials, 2)
      assert.strictEqual((yield* ScriptedWorker.ScriptedWorker).openLinks(), 1)
    })
  )

  story(
    "whose socket is taken over by another one: new streams go there, old ones finish where they are",
    { worker: { answer: Answer.tokens({ tokens: 20, every: "1 second" }) } },
    Effect.gen(function*() {
      const history = yield* statusHistory
      const running = yield* gateway()
      yield* pass("5 seconds")
      yield* worker("replace")
      yield* pass("1 second")
      const fresh = yield* gateway()
      yield* pass("1 minute")
      assertAnswered(running, 20)
      assertAnswered(fresh, 20)
      assert.deepStrictEqual((yield* arrived).map(({ process }) => process), [1, 2])
      assert.deepStrictEqual(history, [])
      assert.strictEqual((yield* ScriptedWorker.ScriptedWorker).openLinks(), 1)
    })
  )

  story(
    "that is there, but not for Health, is not a worker",
    { begins: "at once" },
    Effect.gen(function*() {
      yield* worker("fail health")
      yield* pass("1 minute")
      yield* assertStatus("Disconnected", "HealthFailed")
      const refused = yield* gateway()
      assertEnded(refused, "UNAVAILABLE", "worker_disconnected", "with a retry hint")
      yield* worker("answer health")
      yield* pass("10 seconds")
      yield* assertStatus("Connected")
    })
  )

  story(
    "that accepts and never answers is dialled again, and its streams are refused meanwhile",
    { begins: "at once" },
    Effect.gen(function*() {
      yield* worker("come back")
      yield* worker("accept and never answer")
      yield* worker("break links")
      yield* pass("30 seconds")
      yield* assertStatus("Disconnected", "DialTimeout")
      assertEnded(yield* gateway(), "UNAVAILABLE", "worker_disconnected", "with a retry hint")
      yield* worker("answer again")
      yield* pass("10 seconds")
      yield* assertStatus("Connected")
    })
  )
})

describe("Reconnecting", () => {
  /** Chance in the middle: the schedule without its jitter. */
  const unjittered = Effect.provideService(Random.Random, { nextDoubleUnsafe: () => 0.5, nextIntUnsafe: () => 0 })

  story(
    "is dense at first and then one attempt each check_interval_secs, for hours",
    { worker: { running: false, watch: false }, begins: "at once" },
    Effect.gen(function*() {
      yield* pass("6 hours")
      const times = yield* dialTimes
      const waits = times.slice(1).map((at, n) => at - times[n]!)
      // Five attempts from 2 s, doubling up to the pace of the second phase, ±20 %; then 5 s each.
      const wanted = [2000, 4000, 5000, 5000, 5000]
      wanted.forEach((millis, n) => assert.approximately(waits[n]!, millis, millis / 5 + 1))
      assert.deepStrictEqual(new Set(waits.slice(5)), new Set([5000]))
      assert.approximately(times.length, 21_600 / 5, 5)
      yield* assertStatus("Disconnected", "SocketMissing")
    }).pipe(unjittered)
  )

  story(
    "needs no schedule while the socket is watched: a worker that is back is dialled at once",
    {},
    Effect.gen(function*() {
      for (const minutes of [1, 7, 60]) {
        yield* worker("vanish")
        yield* pass(`${minutes} minutes`)
        yield* assertStatus("Disconnected", "SocketMissing")
        yield* worker("come back")
        yield* pass("100 millis")
        yield* assertStatus("Connected")
      }
      assert.strictEqual(yield* figure("sidecar_worker_reconnects_total"), 3)
    })
  )

  story(
    "finds a worker that is back within one wait, also without the watch",
    { worker: { watch: false } },
    Effect.gen(function*() {
      yield* worker("die")
      yield* pass("2 minutes")
      yield* assertStatus("Disconnected", "ConnectionRefused")
      yield* worker("come back")
      yield* pass("5 seconds")
      yield* assertStatus("Connected")
    })
  )

  story(
    "to a worker that dies at once again and again does not loop hot, and never gives up",
    { begins: "at once", worker: { watch: false } },
    Effect.gen(function*() {
      for (let n = 0; n < 600; n++) {
        yield* worker("come back")
        yield* pass("500 millis")
        yield* worker("break links")
        yield* pass("500 millis")
      }
      // Ten minutes at 5 s each, and the first phase.
      assert.isAtMost((yield* ScriptedWorker.ScriptedWorker).dials(), 600 / 5 + 10)
      yield* pass("10 seconds")
      yield* assertStatus("Connected")
    })
  )

  story(
    "tells apart what stands in the way",
    {},
    Effect.gen(function*() {
      for (const fault of ["PermissionDenied", "NotASocket", "NotGrpc", "ConnectionRefused"]) {
        yield* worker(`unreachable ${fault}`)
        yield* pass("10 seconds")
        yield* assertStatus("Disconnected", fault)
      }
      yield* worker("come back")
      yield* pass("10 seconds")
      yield* answers(Answer.tokens())
      assertAnswered(yield* Effect.tap(gateway(), () => pass("1 second")))
    })
  )
})
