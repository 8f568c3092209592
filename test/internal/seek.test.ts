import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { hold, seek } from "../../src/internal/stream/seek.ts"
import * as E from "../../src/services/StreamError.ts"
import { FakeCall } from "../support/fakeCall.ts"
import { frame, textOf } from "../support/protobuf.ts"
import { PREDICT } from "../support/replies.ts"
import {
  begin,
  type Begun,
  disconnected,
  makeBench,
  reloading,
  RETRY_AFTER,
  type StreamBench,
  waits,
  whyOf
} from "../support/streamBench.ts"

const gone = new E.GatewayGone({ departure: "cancelled" })

/** Keeps so many bytes of a request. */
const keeping = (bytes: number) => ({
  prepare: (stream: Begun<unknown>["stream"]) => stream.log.push(frame(new Uint8Array(bytes - 5)), undefined)
})

/** One that seeks, and notes when it has found. */
const seeking = (
  bench: StreamBench,
  order: Array<string>,
  name: string,
  who: { tenant?: string; priority?: number } = {}
) => begin(bench, (stream) => Effect.map(seek(stream), () => void order.push(name)), who)

/** The places of this bench are all taken, as far as a newcomer can tell. */
const isFull = ({ env: { places } }: StreamBench): boolean => {
  const owner = { tenant: "" }
  if (!places.tryTake(owner)) return true
  places.giveBack(owner)
  return false
}

const onePlace = { server: { max_worker_streams: 1 } }

describe("A stream that seeks a worker", () => {
  it.effect("has it at once, with a place, when there are both", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench(onePlace)
      const one = yield* begin(bench, seek)
      assert.strictEqual(yield* Fiber.join(one.fiber), bench.link)
      assert.deepStrictEqual([one.events, one.stream.limits.phase, one.stream.limits.hasWaited], [[], "new", false])
      assert.isTrue(isFull(bench))
      one.stream.release()
      assert.isFalse(isFull(bench))
    }))

  it.effect("keeps the place that it has", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench(onePlace)
      const one = yield* begin(bench, (stream) => Effect.andThen(seek(stream), seek(stream)))
      assert.strictEqual(yield* Fiber.join(one.fiber), bench.link)
      one.stream.release()
      assert.isFalse(isFull(bench))
    }))

  it.effect.each(
    [
      ["is away, if nobody is to be held then", disconnected, "disconnected"],
      ["is not well, if nobody is to be held then", { ...disconnected, reason: "Unhealthy" }, "unhealthy"],
      ["means to be back later than it would be held", reloading, "reloading"]
    ] as const
  )("is turned away at once when the worker %s", ([, state, cause]) =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { hold_timeout_secs: 30, hold_on_disconnect_secs: 0 } })
      bench.dueInMillis = 30_001
      bench.down(state)
      const one = yield* begin(bench, seek)
      const expected = { _tag: "WorkerUnavailable", retryAfterMillis: RETRY_AFTER, reason: `worker_${cause}` }
      assert.deepStrictEqual(yield* whyOf(one), expected)
      assert.deepStrictEqual([one.events, one.stream.limits.hasWaited, bench.env.room.size], [[], false, 0])
    }))
})

describe("A stream that is held", () => {
  it.effect("goes on when the worker comes, and its waiting is counted", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      bench.down()
      const one = yield* begin(bench, seek)
      assert.deepStrictEqual([one.stream.limits.phase, bench.env.room.size], ["held", 1])
      yield* TestClock.adjust(3000)
      const link = bench.up()
      yield* TestClock.adjust(0)
      assert.strictEqual(yield* Fiber.join(one.fiber), link)
      assert.deepStrictEqual([one.events, one.stream.limits.phase], [["held"], "new"])
      assert.deepStrictEqual([one.stream.tally.heldMillis, bench.told.held, bench.told.queued], [3000, [3], []])
      assert.strictEqual(one.stream.limits.queuedMillis, 0)
    }))

  it.effect.each(
    [
      ["while the worker reloads", reloading, 30_000],
      ["while the worker is away", disconnected, 7000],
      ["while the worker that said goodbye is away", { ...reloading, restarting: true }, 30_000]
    ] as const
  )("ends when its patience is over, %s", ([, state, heldMillis]) =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { hold_timeout_secs: 30, hold_on_disconnect_secs: 7 } })
      bench.down(state)
      const one = yield* begin(bench, seek)
      yield* TestClock.adjust(heldMillis - 1)
      assert.isTrue(waits(one))
      yield* TestClock.adjust(1)
      const expected = { _tag: "HoldTimeout", heldMillis, retryAfterMillis: RETRY_AFTER, reason: "hold_timeout" }
      assert.deepStrictEqual(yield* whyOf(one), expected)
      assert.deepStrictEqual([bench.env.room.size, one.stream.tally.heldMillis], [0, heldMillis])
    }))

  it.effect("has been at a worker, and is held whatever the status is called meanwhile", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { hold_timeout_secs: 30, hold_on_disconnect_secs: 0 } })
      bench.down(disconnected)
      const one = yield* begin(bench, seek, { prepare: (stream) => void stream.refusals++ })
      yield* TestClock.adjust(29_999)
      assert.isTrue(waits(one))
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* whyOf(one))?.reason, "hold_timeout")
    }))

  it.effect("ends at its caller's deadline", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      bench.down()
      const one = yield* begin(bench, seek, { call: new FakeCall(PREDICT, { timeoutMillis: 5000 }) })
      yield* TestClock.adjust(5000)
      assert.deepStrictEqual(yield* whyOf(one), { _tag: "DeadlineExceeded", delivered: 0, reason: "deadline" })
      assert.strictEqual(bench.env.room.size, 0)
    }))

  it.effect("leaves its seat when it is interrupted, whoever interrupts it, and the seat is the next one's", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { max_held_streams: 1, max_held_bytes: 10 } })
      bench.down()
      const one = yield* begin(bench, seek, keeping(10))
      assert.strictEqual(one.stream.held?.heldBytes, 10)
      yield* TestClock.adjust(1000)
      E.interruptWith(one.fiber, gone)
      assert.deepStrictEqual(yield* whyOf(one), { _tag: "GatewayGone", departure: "cancelled", reason: "cancelled" })
      assert.deepStrictEqual([bench.env.room.size, one.stream.tally.heldMillis, bench.told.held], [0, 1000, [1]])
      assert.strictEqual(one.stream.limits.phase, "new")
      const two = yield* begin(bench, seek, keeping(10))
      assert.isTrue(waits(two))
      yield* Fiber.interrupt(two.fiber)
      assert.deepStrictEqual([yield* whyOf(two), bench.env.room.size], [undefined, 0])
    }))

  it.effect.each(
    [
      ["so many wait", { reload: { max_held_streams: 1 } }, 10],
      ["so many bytes wait", { reload: { max_held_bytes: 19 } }, 10],
      ["all streams together keep so much", { server: { max_buffered_request_bytes: 65_536 } }, 65_527]
    ] as const
  )("is not, when %s that there is no room for it", ([, overrides, bytes]) =>
    Effect.gen(function*() {
      const bench = yield* makeBench(overrides)
      bench.down()
      const one = yield* begin(bench, seek, keeping(10))
      const two = yield* begin(bench, seek, keeping(bytes))
      assert.isTrue(waits(one))
      const expected = { _tag: "HoldFull", retryAfterMillis: RETRY_AFTER, reason: "hold_full" }
      assert.deepStrictEqual(yield* whyOf(two), expected)
      assert.deepStrictEqual([bench.env.room.size, two.stream.held, two.stream.limits.phase], [1, undefined, "new"])
    }))

  it.effect("is let go behind those before it though the worker is back when it comes, and is not sent to the back again", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const order: Array<string> = []
      bench.down()
      // More than are let go at once: there is somebody in the room all the time.
      for (let n = 0; n < 20; n++) yield* seeking(bench, order, `${n}`)
      bench.up()
      yield* TestClock.adjust(0)
      assert.deepStrictEqual([order.length, bench.env.room.size], [8, 12])
      const last = yield* seeking(bench, order, "20")
      yield* TestClock.adjust(40)
      assert.deepStrictEqual(order, Array.from({ length: 21 }, (_, n) => `${n}`))
      assert.deepStrictEqual(last.events, ["held"])
    }))

  it.effect("overtakes nobody that is only here to be sent again", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const again = yield* begin(bench, (stream) => hold(stream, 30_000, "after a pause"))
      const one = yield* begin(bench, seek)
      assert.deepStrictEqual([waits(one), waits(again)], [false, true])
      yield* TestClock.adjust(20)
      assert.isFalse(waits(again))
    }))

  it.effect("is told why it takes so long once it has a seat, and not when it is to be sent again", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { hold_notice: "back in {eta}", max_held_streams: 2 } })
      bench.down()
      const one = yield* begin(bench, seek)
      const again = yield* begin(bench, (stream) => hold(stream, 30_000, "after a pause"))
      const refused = yield* begin(bench, seek)
      assert.deepStrictEqual(one.call.replies.map((message) => textOf(message, 2)), ["back in 30"])
      assert.deepStrictEqual([one.stream.noticed, again.stream.noticed, refused.stream.noticed], [true, false, false])
      assert.deepStrictEqual([again.call.replies, refused.call.replies], [[], []])
    }))

  it.effect("is refused with the caller's own reason where it has one, whatever it keeps", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({
        reload: { max_held_streams: 1 },
        server: { max_buffered_request_bytes: 65_536 }
      })
      const lost = new E.WorkerLost({ delivered: 0, retryAfterMillis: 7 })
      const again = (stream: Begun<unknown>["stream"]) => hold(stream, 30_000, "after a pause", () => lost)
      const one = yield* begin(bench, again, keeping(65_537))
      const two = yield* begin(bench, again, keeping(65_537))
      assert.isTrue(waits(one))
      assert.strictEqual((yield* whyOf(two))?.reason, "worker_lost")
    }))
})

describe("A stream that is queued", () => {
  it.effect("goes on with the place that was taken in its name, and its waiting is counted", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench(onePlace)
      const first = yield* begin(bench, seek)
      const one = yield* begin(bench, seek)
      assert.deepStrictEqual([one.stream.limits.phase, bench.env.places.size], ["queued", 1])
      yield* TestClock.adjust(2000)
      first.stream.givePlaceBack()
      assert.strictEqual(yield* Fiber.join(one.fiber), bench.link)
      assert.deepStrictEqual([one.events, one.stream.limits.phase], [["queued"], "new"])
      assert.deepStrictEqual([bench.told.held, bench.told.queued, one.stream.limits.queuedMillis], [[], [2], 2000])
      assert.isTrue(isFull(bench))
      one.stream.release()
      assert.isFalse(isFull(bench))
    }))

  it.effect.each(
    [
      ["so many wait", { max_queued_streams: 1 }],
      ["all streams together keep so much", { max_buffered_request_bytes: 65_536 }]
    ] as const
  )("is not, when %s that there is no room for it", ([, server]) =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: { ...server, max_worker_streams: 1 } })
      yield* begin(bench, seek)
      yield* begin(bench, seek)
      const one = yield* begin(bench, seek, keeping(65_537))
      const expected = { _tag: "QueueFull", retryAfterMillis: RETRY_AFTER, reason: "queue_full" }
      assert.deepStrictEqual(yield* whyOf(one), expected)
      assert.deepStrictEqual([bench.env.places.size, one.stream.limits.phase], [1, "new"])
    }))

  it.effect("ends when no place came free in time, and at its caller's deadline", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: { max_worker_streams: 1, queue_timeout_secs: 6 } })
      yield* begin(bench, seek)
      const one = yield* begin(bench, seek)
      const hurried = yield* begin(bench, seek, { call: new FakeCall(PREDICT, { timeoutMillis: 5000 }) })
      yield* TestClock.adjust(5999)
      assert.deepStrictEqual(yield* whyOf(hurried), { _tag: "DeadlineExceeded", delivered: 0, reason: "deadline" })
      assert.isTrue(waits(one))
      yield* TestClock.adjust(1)
      const expected = {
        _tag: "QueueTimeout",
        queuedMillis: 6000,
        retryAfterMillis: RETRY_AFTER,
        reason: "queue_timeout"
      }
      assert.deepStrictEqual(yield* whyOf(one), expected)
      assert.strictEqual(bench.env.places.size, 0)
    }))

  it.effect("leaves the queue when it is interrupted, and the place goes to the one behind it", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench(onePlace)
      const order: Array<string> = []
      const first = yield* begin(bench, seek)
      const one = yield* seeking(bench, order, "one")
      const two = yield* seeking(bench, order, "two")
      yield* TestClock.adjust(1000)
      E.interruptWith(one.fiber, gone)
      assert.strictEqual((yield* whyOf(one))?.reason, "cancelled")
      assert.deepStrictEqual([bench.env.places.size, bench.told.queued, one.stream.limits.phase], [1, [1], "new"])
      assert.isTrue(waits(two))
      first.stream.release()
      assert.deepStrictEqual([order, waits(two)], [["two"], false])
      two.stream.release()
      assert.isFalse(isFull(bench))
    }))

  it.effect("has its turn by priority, then by arrival, and where places are shared fairly before that by tenant", () =>
    Effect.gen(function*() {
      for (const fair_queue of [false, true]) {
        const bench = yield* makeBench({ server: { max_worker_streams: 2 }, tenants: { fair_queue } })
        const order: Array<string> = []
        const first = yield* begin(bench, seek, { tenant: "a" })
        const second = yield* begin(bench, seek, { tenant: "a" })
        yield* seeking(bench, order, "a5", { tenant: "a", priority: 5 })
        yield* seeking(bench, order, "a1", { tenant: "a", priority: 1 })
        yield* seeking(bench, order, "a1 later", { tenant: "a", priority: 1 })
        yield* seeking(bench, order, "b9", { tenant: "b", priority: 9 })
        first.stream.release()
        second.stream.release()
        assert.deepStrictEqual(order, fair_queue ? ["b9", "a1"] : ["a1", "a1 later"])
      }
    }))

  it.effect("is held when the worker is gone by its turn, and gives its place to those behind it", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench(onePlace)
      const order: Array<string> = []
      const first = yield* begin(bench, seek)
      const one = yield* seeking(bench, order, "one")
      const two = yield* seeking(bench, order, "two")
      bench.down()
      first.stream.release()
      assert.deepStrictEqual([one.events, two.events], [["queued", "held"], ["queued", "held"]])
      assert.deepStrictEqual([bench.env.room.size, bench.env.places.size, isFull(bench)], [2, 0, false])
      bench.up()
      yield* TestClock.adjust(0)
      assert.deepStrictEqual([order, two.events.at(-1)], [["one"], "queued"])
      one.stream.release()
      assert.deepStrictEqual(order, ["one", "two"])
    }))
})
