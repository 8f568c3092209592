import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { replay } from "../../src/internal/stream/replay.ts"
import type { StreamUnderWay } from "../../src/internal/stream/streamUnderWay.ts"
import * as Status from "../../src/services/Status.ts"
import * as E from "../../src/services/StreamError.ts"
import type { CallEnd } from "../../src/services/Wire.ts"
import { FakeCall } from "../support/fakeCall.ts"
import { frame } from "../support/protobuf.ts"
import { PREDICT } from "../support/replies.ts"
import {
  begin,
  type BeginOptions,
  disconnected,
  makeBench,
  RETRY_AFTER,
  type StreamBench,
  waits,
  whyOf
} from "../support/streamBench.ts"

const { Code } = Status

const broken: CallEnd = { reason: "transport", status: Status.make(Code.UNAVAILABLE, "the socket is gone") }
const refused: CallEnd = { ...broken, reason: "refused" }
const stopping: CallEnd = { reason: "status", status: Status.make(Code.UNAVAILABLE, "Cancelling all calls") }
const unseen: CallEnd = { reason: "status", status: Status.make(Code.CANCELLED, "") }

const lost = (more: object = {}) => ({
  _tag: "WorkerLost",
  delivered: 0,
  retryAfterMillis: RETRY_AFTER,
  status: undefined,
  reason: "worker_lost",
  ...more
})

/** The pause of the waiting room. */
const PAUSE_MILLIS = 20

/** Replays a new stream for this end of its worker's side. */
const replaying = (
  bench: StreamBench,
  end: CallEnd,
  prepare: (stream: StreamUnderWay) => void = () => {},
  options: BeginOptions = {}
) => begin(bench, (stream) => replay(stream, end), { ...options, prepare })

describe("A stream whose worker is lost before its first token", () => {
  it.effect.each(
    [
      ["the link broke", broken],
      ["the worker stops", stopping],
      ["the worker stops and no handler has seen it", unseen]
    ] as const
  )("may go to another worker after a pause, once, when %s", ([, end]) =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const one = yield* replaying(bench, end)
      const { refusals, tally } = one.stream
      assert.deepStrictEqual([tally.replays, refusals, bench.told.replayed], [1, 0, 1])
      assert.deepStrictEqual([one.events, bench.env.room.size], [["held"], 1])
      yield* TestClock.adjust(PAUSE_MILLIS - 1)
      assert.isTrue(waits(one))
      yield* TestClock.adjust(1)
      yield* Fiber.join(one.fiber)
      assert.deepStrictEqual([bench.env.room.size, tally.heldMillis], [0, PAUSE_MILLIS])
      const again = yield* replaying(bench, end, (stream) => void stream.tally.replays++)
      assert.deepStrictEqual(yield* whyOf(again), lost({ status: end === stopping ? stopping.status : undefined }))
      assert.deepStrictEqual([again.stream.tally.replays, bench.told.replayed, again.events], [1, 1, []])
    }))

  it.effect("may go on being refused unseen, up to ten times, and that is no replay", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      // The word of a worker comes in a turn of its own.
      const refusedLater = (stream: StreamUnderWay) => Effect.andThen(replay(stream, refused), Effect.yieldNow)
      const one = yield* begin(bench, (stream) =>
        Effect.forEach(Array.from({ length: 11 }), () => refusedLater(stream), { discard: true }))
      for (let n = 1; n <= 10; n++) {
        assert.deepStrictEqual([one.stream.refusals, waits(one)], [n, true])
        yield* TestClock.adjust(PAUSE_MILLIS)
      }
      assert.deepStrictEqual(yield* whyOf(one), lost())
      assert.deepStrictEqual([one.stream.tally.replays, bench.told.replayed], [0, 0])
    }))

  it.effect("has all of its requests before it again", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const sent: Array<Uint8Array> = []
      const sink = { write: (batch: Uint8Array) => sent.push(batch) > 0, halfClose: () => {} }
      const batch = frame(Uint8Array.of(1))
      const one = yield* replaying(bench, broken, ({ log }) => log.push(batch, sink))
      yield* TestClock.adjust(PAUSE_MILLIS)
      yield* Fiber.join(one.fiber)
      // What has been sent on that call is not sent as far as the next one is concerned, and so is not lost.
      one.stream.log.forget()
      assert.isTrue(one.stream.log.replayable)
      one.stream.log.sendAll(sink)
      assert.deepStrictEqual(sent, [batch, batch])
    }))

  it.effect("gives its place at the worker to those that wait for it", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: { max_worker_streams: 1 } })
      const one = yield* replaying(bench, broken, (stream) => assert.isTrue(stream.takePlace()))
      assert.isTrue(waits(one))
      const next = { tenant: "" }
      assert.isTrue(bench.env.places.tryTake(next))
      yield* TestClock.adjust(PAUSE_MILLIS)
      yield* Fiber.join(one.fiber)
      assert.isFalse(one.stream.takePlace())
    }))

  it.effect("holds up nobody else meanwhile, and is told no notice", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { hold_notice: "soon" } })
      const one = yield* replaying(bench, broken)
      assert.isFalse(bench.env.room.keepsOrder)
      assert.deepStrictEqual([waits(one), one.call.replies, one.stream.noticed], [true, [], false])
    }))

  it.effect("is held until a worker is back, and no longer than its patience", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { hold_timeout_secs: 30, hold_on_disconnect_secs: 0 } })
      bench.down(disconnected)
      const one = yield* replaying(bench, broken)
      const two = yield* replaying(bench, broken, undefined, { call: new FakeCall(PREDICT, { timeoutMillis: 15_000 }) })
      const three = yield* replaying(bench, broken)
      yield* TestClock.adjust(10_000)
      assert.deepStrictEqual([waits(one), waits(two)], [true, true])
      E.interruptWith(three.fiber, new E.GatewayGone({ departure: "cancelled" }))
      assert.deepStrictEqual(yield* whyOf(three), {
        _tag: "GatewayGone",
        departure: "cancelled",
        reason: "cancelled"
      })
      assert.strictEqual(bench.env.room.size, 2)
      yield* TestClock.adjust(5000)
      assert.deepStrictEqual(yield* whyOf(two), { _tag: "DeadlineExceeded", delivered: 0, reason: "deadline" })
      yield* TestClock.adjust(15_000)
      const expected = { heldMillis: 30_000, retryAfterMillis: RETRY_AFTER, reason: "hold_timeout" }
      assert.deepStrictEqual(yield* whyOf(one), { _tag: "HoldTimeout", ...expected })
      assert.strictEqual(bench.env.room.size, 0)
      const four = yield* replaying(bench, broken)
      bench.up()
      yield* TestClock.adjust(PAUSE_MILLIS)
      assert.isUndefined(yield* whyOf(four))
    }))

  it.effect("is lost when the waiting room has no place for it, by the worker's own word where that says so", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { max_held_streams: 0 } })
      const ends = yield* Effect.forEach(
        [broken, refused, stopping, unseen],
        (end) => Effect.flatMap(replaying(bench, end), whyOf)
      )
      assert.deepStrictEqual(ends, [lost(), lost(), lost({ status: stopping.status }), lost()])
    }))
})

describe("A stream whose worker is lost and that cannot be sent again", () => {
  it.effect("says how much the gateway has", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      for (const end of [broken, refused]) {
        const one = yield* replaying(bench, end, ({ tally }) => void (tally.chunks = 3))
        assert.deepStrictEqual(yield* whyOf(one), lost({ delivered: 3 }))
        assert.deepStrictEqual([one.events, one.stream.tally.replays, one.stream.refusals], [[], 0, 0])
      }
    }))

  it.effect("has sent more than was kept, and still can where none of it has left", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { replay_max_bytes: 0 } })
      const batch = frame(Uint8Array.of(1))
      const sink = { write: () => true, halfClose: () => {} }
      const one = yield* replaying(bench, broken, ({ log }) => log.push(batch, sink))
      assert.deepStrictEqual(yield* whyOf(one), lost())
      const two = yield* replaying(bench, broken, ({ log }) => log.push(batch, undefined))
      assert.isTrue(waits(two))
    }))
})
