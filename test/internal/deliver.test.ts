import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { deliver } from "../../src/internal/stream/deliver.ts"
import type { StreamUnderWay } from "../../src/internal/stream/streamUnderWay.ts"
import { concat } from "../../src/internal/wire/frames.ts"
import * as Status from "../../src/services/Status.ts"
import * as E from "../../src/services/StreamError.ts"
import type { CallEnd } from "../../src/services/Wire.ts"
import { FakeCall, type FakeCallOptions } from "../support/fakeCall.ts"
import { endOfStream, frame, token } from "../support/protobuf.ts"
import { PREDICT } from "../support/replies.ts"
import { begin, makeBench, OutspokenLink, RETRY_AFTER, type StreamBench, waits, whyOf } from "../support/streamBench.ts"

const [one, two, three, last] = [
  frame(token(0, "one")),
  frame(token(1, "two")),
  frame(token(2, "three")),
  frame(endOfStream(3))
] as const

/** A frame without a token: whoever has it can still be sent to another worker. */
const empty = frame(token(0, ""))

const ok = Status.make(Status.Code.OK, "")

/** A stream that is delivered to a gateway with so much room, up to where its worker has it. */
const delivering = (bench: StreamBench, options: FakeCallOptions = {}, prepare?: (stream: StreamUnderWay) => void) =>
  Effect.map(
    begin(bench, (stream) => deliver(stream, undefined), {
      call: new FakeCall(PREDICT, options),
      ...(prepare === undefined ? {} : { prepare })
    }),
    (begun) => ({ ...begun, worker: bench.calls.at(-1) ?? assert.fail("no call has come") })
  )

/** Frames that wait for the gateway keep the place; a newcomer tells. */
const isFree = ({ env: { places } }: StreamBench): boolean => {
  const owner = { tenant: "" }
  if (!places.tryTake(owner)) return false
  places.giveBack(owner)
  return true
}

describe("A stream that is delivered", () => {
  it.effect("hands each batch over as it came, in the turn in which it came, and ends by the worker's word", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const { call, fiber, stream, worker } = yield* delivering(bench)
      worker.send(one)
      assert.deepStrictEqual([call.written, stream.tally.chunks], [[one], 1])
      const batch = concat([two, three])
      worker.send(batch)
      assert.deepStrictEqual([call.written, stream.tally.chunks], [[one, batch], 3])
      worker.send(last)
      assert.deepStrictEqual([call.written, stream.tally.ended, fiber.pollUnsafe()], [
        [one, batch, last],
        true,
        undefined
      ])
      worker.answer({ ...ok, metadata: { "cy-completion-tokens": "7" } })
      yield* Fiber.join(fiber)
      assert.deepStrictEqual([stream.status?.code, stream.tally.workerTokens, bench.openings], [0, 7, ["succeeded"]])
      assert.deepStrictEqual([call.ended, bench.link?.openCalls()], [undefined, 0])
    }))

  it.effect("is not sent again from its first token on", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      yield* TestClock.adjust(100)
      const { events, stream, worker } = yield* delivering(bench, {}, ({ log }) => log.push(frame(two), undefined))
      worker.send(empty)
      assert.deepStrictEqual([events, stream.log.replayable, bench.env.requestBytes.bytes > 0], [[], true, true])
      yield* TestClock.adjust(30)
      worker.send(one)
      worker.send(two)
      assert.deepStrictEqual([events, stream.log.replayable], [["first_token"], false])
      assert.deepStrictEqual([bench.env.requestBytes.bytes, stream.tally.ttftMillis], [0, 130])
    }))

  it.effect("goes to the next worker when its own is lost before that, and nothing comes twice", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const { call, events, fiber, stream, worker } = yield* delivering(bench)
      worker.send(empty)
      worker.breakOff("")
      assert.deepStrictEqual([bench.told.suspects, waits({ call, events, fiber, stream })], [1, true])
      yield* TestClock.adjust(20)
      const again = bench.calls[1] ?? assert.fail("it is not sent again")
      for (const batch of [empty, frame(token(1, "one")), last]) again.send(batch)
      again.answer(ok)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(call.replies.length, 3)
      assert.deepStrictEqual([stream.tally.replays, events], [1, ["held", "replayed", "first_token"]])
    }))

  it.effect("waits for the pause between two refusals, also when they come in the turn in which it asks", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      bench.first.leave("GoingAway", "")
      const begun = yield* begin(bench, (stream) => deliver(stream, undefined))
      for (const refusals of [1, 2, 3]) {
        assert.deepStrictEqual([bench.openings.length, waits(begun)], [refusals, true])
        yield* TestClock.adjust(20)
      }
      yield* Fiber.interrupt(begun.fiber)
    }))
})

describe("A gateway that takes no more", () => {
  it.effect("is handed nothing, and nothing is pulled or counted for it until it does", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const { call, stream, worker } = yield* delivering(bench, { capacity: 1 })
      for (const batch of [one, two, three]) worker.send(batch)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual([call.written, stream.tally.chunks], [[one], 1])
      call.read()
      yield* TestClock.adjust(0)
      assert.deepStrictEqual([call.written, stream.tally.chunks], [[one, two], 2])
      call.read()
      yield* TestClock.adjust(0)
      assert.deepStrictEqual([call.written, stream.tally.chunks], [[one, two, three], 3])
    }))

  it.effect("is no idle worker: the time of its frames counts from when the gateway reads again", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: { stream_idle_timeout_secs: 5, slow_reader_timeout_secs: 6 } })
      const begun = yield* delivering(bench, { capacity: 1 })
      begun.worker.send(one)
      yield* TestClock.adjust(5500)
      begun.call.read()
      yield* TestClock.adjust(4999)
      assert.isTrue(waits(begun))
      yield* TestClock.adjust(1)
      const expected = { _tag: "StreamIdle", phase: "idle", idleSecs: 5, delivered: 1, reason: "stream_idle" }
      assert.deepStrictEqual(yield* whyOf(begun), expected)
    }))

  it.effect("has this time exactly, also when its own patience would have lasted longer", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: { stream_idle_timeout_secs: 5, slow_reader_timeout_secs: 60 } })
      const begun = yield* delivering(bench, { capacity: 1 })
      begun.worker.send(one)
      yield* TestClock.adjust(50_000)
      begun.call.read()
      yield* TestClock.adjust(5000)
      const expected = { _tag: "StreamIdle", phase: "idle", idleSecs: 5, delivered: 1, reason: "stream_idle" }
      assert.deepStrictEqual(yield* whyOf(begun), expected)
    }))

  it.effect("ends when it reads nothing for too long, whatever its worker has still to say", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: { slow_reader_timeout_secs: 60 } })
      const begun = yield* delivering(bench, { capacity: 1 })
      for (const batch of [one, two]) begun.worker.send(batch)
      yield* TestClock.adjust(59_999)
      assert.isTrue(waits(begun))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* whyOf(begun), { _tag: "SlowReader", delivered: 1, reason: "slow_reader" })
      assert.deepStrictEqual([begun.worker.seen.end?.fate, begun.call.written], ["cancelled", [one]])
    }))

  it.effect("and takes its frames one by one is handed the next each time that it reads, though its worker is over", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const link = new OutspokenLink()
      bench.link = link
      const call = new FakeCall(PREDICT, { capacity: 1, takesSingleFrames: true })
      const begun = yield* begin(bench, (stream) => deliver(stream, undefined), { call })
      link.worker?.onFrames(concat([one, two, last]))
      link.worker?.onEnd({ reason: "status", status: ok })
      const seen: Array<readonly [number, number]> = []
      for (let reads = 0; reads < 3; reads++) {
        yield* TestClock.adjust(0)
        seen.push([begun.call.written.length, begun.stream.tally.frames])
        begun.call.read()
      }
      assert.deepStrictEqual(seen, [[1, 1], [2, 2], [3, 3]])
      assert.isUndefined(yield* whyOf(begun))
    }))
})

describe("A worker that has said all while its gateway takes no more", () => {
  /** A stream whose gateway is full, and a worker that says how it ends. */
  const saying = (bench: StreamBench, batch: Uint8Array, end: CallEnd) =>
    Effect.gen(function*() {
      const link = new OutspokenLink()
      bench.link = link
      const call = new FakeCall(PREDICT, { capacity: 1 })
      const begun = yield* begin(bench, (stream) => deliver(stream, undefined), { call })
      link.worker?.onFrames(batch)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual([begun.call.written, begun.stream.status, isFree(bench)], [[batch], undefined, false])
      link.worker?.onEnd(end)
      yield* TestClock.adjust(0)
      return begun
    })
  const onePlace = { max_worker_streams: 1, slow_reader_timeout_secs: 60 }
  const well: CallEnd = { reason: "status", status: ok }

  it.effect("leaves its place to others, and the gateway is waited for", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: onePlace })
      const begun = yield* saying(bench, concat([one, last]), well)
      assert.deepStrictEqual([begun.stream.status?.code, isFree(bench), waits(begun)], [0, true, true])
      begun.call.read()
      assert.isUndefined(yield* whyOf(begun))
    }))

  it.effect("is no excuse for a gateway that never turns out to take it", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: onePlace })
      const begun = yield* saying(bench, concat([one, last]), well)
      yield* TestClock.adjust(59_999)
      assert.isTrue(waits(begun))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* whyOf(begun), { _tag: "SlowReader", delivered: 1, reason: "slow_reader" })
    }))

  it.effect("has failed, and that is known when it happens", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: onePlace })
      const memory = Status.make(Status.Code.INTERNAL, "out of memory")
      const failed = yield* saying(bench, one, { reason: "status", status: memory })
      assert.deepStrictEqual(yield* whyOf(failed), { _tag: "WorkerStatus", status: memory, reason: undefined })
      const lost = yield* saying(bench, one, { reason: "transport", status: memory })
      const expected = { _tag: "WorkerLost", delivered: 1, retryAfterMillis: RETRY_AFTER, status: undefined }
      assert.deepStrictEqual(yield* whyOf(lost), { ...expected, reason: "worker_lost" })
      assert.deepStrictEqual([bench.told.suspects, isFree(bench)], [1, true])
    }))
})

describe("What ends a stream while it is delivered", () => {
  it.effect("is the worker's own word", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const said = Status.make(Status.Code.NOT_FOUND, "no such model")
      const begun = yield* delivering(bench)
      begun.worker.answer(said)
      assert.deepStrictEqual(yield* whyOf(begun), { _tag: "WorkerStatus", status: said, reason: undefined })
      assert.deepStrictEqual([begun.stream.status, bench.openings], [said, ["ignored"]])
    }))

  it.effect("is an OK that is none, where the end of a stream is asked for", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: { require_end_of_stream: true } })
      for (const [frames, kind, delivered] of [[[], "empty_stream", 0], [[one], "truncated", 1]] as const) {
        const begun = yield* delivering(bench)
        for (const batch of frames) begun.worker.send(batch)
        begun.worker.answer(ok)
        assert.deepStrictEqual(yield* whyOf(begun), { _tag: "Truncated", kind, delivered, reason: kind })
      }
    }))

  it.effect("is no harm when the link breaks behind its end", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const begun = yield* delivering(bench)
      begun.worker.send(concat([one, last]))
      begun.worker.breakOff("")
      assert.isUndefined(yield* whyOf(begun))
      assert.deepStrictEqual([begun.stream.status?.code, begun.stream.tally.replays], [0, 0])
    }))

  it.effect("is the time: to the first token, to the next frame, the caller's own", () =>
    Effect.gen(function*() {
      const limits = { first_token_timeout_secs: 8, stream_idle_timeout_secs: 5 }
      const bench = yield* makeBench({ server: limits })
      const silent = yield* delivering(bench)
      const talking = yield* delivering(bench)
      const hurried = yield* delivering(bench, { timeoutMillis: 3000 })
      for (const { worker } of [talking, hurried]) worker.send(one)
      yield* TestClock.adjust(3000)
      assert.deepStrictEqual(yield* whyOf(hurried), { _tag: "DeadlineExceeded", delivered: 1, reason: "deadline" })
      talking.worker.send(two)
      yield* TestClock.adjust(4999)
      assert.deepStrictEqual([waits(silent), waits(talking)], [true, true])
      yield* TestClock.adjust(1)
      const idle = { _tag: "StreamIdle", reason: "stream_idle" }
      assert.deepStrictEqual(yield* whyOf(silent), { ...idle, phase: "first_token", idleSecs: 8, delivered: 0 })
      assert.deepStrictEqual(yield* whyOf(talking), { ...idle, phase: "idle", idleSecs: 5, delivered: 2 })
      assert.deepStrictEqual(bench.calls.map(({ seen }) => seen.end?.fate), ["cancelled", "cancelled", "cancelled"])
    }))

  it.effect("is the time to its next frame from its first token on, though the first might have taken longer", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: { first_token_timeout_secs: 1800, stream_idle_timeout_secs: 5 } })
      const begun = yield* delivering(bench)
      begun.worker.send(one)
      yield* TestClock.adjust(5000)
      const expected = { _tag: "StreamIdle", phase: "idle", idleSecs: 5, delivered: 1, reason: "stream_idle" }
      assert.deepStrictEqual(yield* whyOf(begun), expected)
    }))

  it.effect.each(
    [
      ["the gateway that leaves", new E.GatewayGone({ departure: "cancelled" }), "cancelled"],
      ["the gateway whose connection is gone", new E.GatewayGone({ departure: "vanished" }), "cancelled"],
      ["the operator", new E.Killed({ delivered: 1 }), "killed"],
      ["the drain's limit", new E.Draining({ delivered: 1 }), "draining"]
    ] as const
  )(
    "is %s, with its reason: the worker's call is cancelled, the place is given back, no frame follows",
    ([, error, reason]) =>
      Effect.gen(function*() {
        for (const capacity of [1, 9]) {
          const bench = yield* makeBench({ server: { max_worker_streams: 1 } })
          const begun = yield* delivering(bench, { capacity }, ({ log }) => log.push(frame(two), undefined))
          begun.worker.send(one)
          yield* TestClock.adjust(0)
          E.interruptWith(begun.fiber, error)
          assert.strictEqual((yield* whyOf(begun))?.reason, reason)
          assert.deepStrictEqual([begun.worker.seen.end?.fate, bench.link?.openCalls()], ["cancelled", 0])
          begun.worker.send(two)
          begun.call.read()
          yield* TestClock.adjust(0)
          assert.deepStrictEqual([begun.call.written, isFree(bench), bench.env.requestBytes.bytes], [[one], true, 0])
        }
      })
  )
})
