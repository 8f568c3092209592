import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { open, passHeaders } from "../../src/internal/stream/open.ts"
import type { Attempt, StreamUnderWay } from "../../src/internal/stream/streamUnderWay.ts"
import { payloads } from "../../src/internal/wire/frames.ts"
import * as E from "../../src/services/StreamError.ts"
import { FakeCall } from "../support/fakeCall.ts"
import { fieldsOf, frame, token } from "../support/protobuf.ts"
import { PREDICT } from "../support/replies.ts"
import { begin, type BeginOptions, makeBench, type StreamBench, whyOf } from "../support/streamBench.ts"

const [a, b, c] = [Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)] as const

/** Opens for a new stream on the bench's link, and lives on as a stream at its worker does. */
const opening = (
  bench: StreamBench,
  options: BeginOptions & {
    readonly before?: (stream: StreamUnderWay) => void
    readonly after?: (stream: StreamUnderWay, made: Attempt) => void
  } = {}
) => {
  const link = bench.link ?? assert.fail("there is a link")
  return begin(bench, (stream) => {
    options.before?.(stream)
    return Effect.flatMap(open(stream, link), (made) => {
      options.after?.(stream, made)
      return Effect.never
    })
  }, options)
}

/** The `index` of each reply in these frames; the last one of a field counts. */
const indexesOf = (batch: Uint8Array | undefined) =>
  batch === undefined ? undefined : payloads(batch).map((message) => Number(fieldsOf(message).get(4)?.at(-1) ?? 0))

describe("Opening a stream at the worker", () => {
  it.effect("sends what may pass, and of the caller's time what is left of it", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      yield* TestClock.adjust(2000)
      yield* opening(bench, {
        call: new FakeCall(PREDICT, { metadata: { "not-to": "pass" }, timeoutMillis: 5000 }),
        metadata: { "x-a": "1" }
      })
      const [{ seen } = assert.fail("no call has come")] = bench.calls
      assert.deepStrictEqual([seen.path, seen.metadata, seen.timeoutMillis], [PREDICT, { "x-a": "1" }, 3000])
      yield* opening(bench)
      assert.isUndefined(bench.calls[1]?.seen.timeoutMillis)
    }))

  it.effect("sends what there is of its requests in their order, then what comes, then the half-close", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const one = yield* opening(bench, {
        before: ({ log }) => {
          log.push(frame(a), undefined)
          log.push(frame(b), undefined)
        }
      })
      const [{ seen } = assert.fail("no call has come")] = bench.calls
      assert.deepStrictEqual([seen.requests, seen.halfClosedAt], [[a, b], undefined])
      one.stream.log.push(frame(c), one.stream.attempt?.worker)
      one.stream.log.halfClose(one.stream.attempt?.worker)
      assert.deepStrictEqual([seen.requests, seen.halfClosedAt], [[a, b, c], 0])
      yield* opening(bench, { before: ({ log }) => log.halfClose(undefined) })
      assert.strictEqual(bench.calls[1]?.seen.halfClosedAt, 0)
    }))

  it.effect("wakes who has requests for it behind those that waited", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      let woken: unknown
      const one = yield* begin(bench, (stream) => {
        stream.log.push(frame(a), undefined)
        const link = bench.link ?? assert.fail("there is a link")
        const waiter = Effect.map(stream.awaitAttempt(), () => {
          woken = { sent: bench.calls[0]?.seen.requests.slice(), attempt: stream.attempt !== undefined }
        })
        return Effect.andThen(
          Effect.forkScoped(waiter, { startImmediately: true }),
          Effect.andThen(open(stream, link), Effect.never)
        )
      })
      yield* Effect.yieldNow
      assert.deepStrictEqual(woken, { sent: [a], attempt: true })
      // Who comes now waits for the attempt after this one.
      assert.isUndefined(one.stream.attempted)
    }))

  it.effect("begins its time to the first token, and counts as admission what was not waiting", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ server: { first_token_timeout_secs: 9 } })
      const one = yield* begin(bench, (stream) => {
        const link = bench.link ?? assert.fail("there is a link")
        stream.limits.wait("held", 30_000)
        return Effect.sleep(4000).pipe(
          Effect.tap(() => Effect.sync(() => stream.limits.waited())),
          Effect.andThen(Effect.sleep(5)),
          Effect.andThen(open(stream, link)),
          Effect.andThen(Effect.never)
        )
      })
      yield* TestClock.adjust(4005)
      const { admissionMillis, delivery, limits, state } = one.stream
      assert.deepStrictEqual([admissionMillis, limits.phase, state], [5, "open", "at the worker"])
      assert.deepStrictEqual([delivery.lastFrameAt, limits.dueAt()], [4005, 13_005])
      yield* TestClock.adjust(9000)
      const idle = {
        _tag: "StreamIdle",
        phase: "first_token",
        idleSecs: 9,
        delivered: 0,
        reason: "stream_idle"
      }
      assert.deepStrictEqual(yield* whyOf(one), idle)
    }))

  it.effect("is told to the span of a stream that has waited, as what it is", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const waited = ({ limits }: StreamUnderWay) => {
        limits.wait("queued", 1000)
        limits.waited()
      }
      const straight = yield* opening(bench)
      const sent = yield* opening(bench, { before: waited })
      const replayed = yield* opening(bench, {
        before: (stream) => {
          waited(stream)
          stream.tally.replays++
        }
      })
      assert.deepStrictEqual([straight.events, sent.events, replayed.events], [[], ["sent"], ["replayed"]])
    }))

  it.effect("sends nothing on a call that the link has refused: it can all be sent again", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench({ reload: { replay_max_bytes: 0 } })
      bench.first.leave("GoingAway", "")
      let seen: ReadonlyArray<boolean> = []
      yield* opening(bench, {
        before: ({ log }) => {
          log.push(frame(a), undefined)
          log.halfClose(undefined)
        },
        after: ({ log }, { worker }) => {
          seen = [worker.isOver, log.replayable, log.bytes > 0]
        }
      })
      assert.deepStrictEqual(seen, [true, true, true])
    }))

  it.effect.each(
    [
      ["its caller leaves", new E.GatewayGone({ departure: "vanished" }), "cancelled"],
      ["its caller's time is over", new E.DeadlineExceeded({ delivered: 0 }), "deadline"],
      ["an operator ends it", new E.Killed({ delivered: 0 }), "killed"]
    ] as const
  )("lives as long as its scope: the worker hears when %s", ([, error, reason]) =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const one = yield* opening(bench)
      assert.strictEqual(bench.link?.openCalls(), 1)
      E.interruptWith(one.fiber, error)
      assert.strictEqual((yield* whyOf(one))?.reason, reason)
      assert.deepStrictEqual([bench.calls[0]?.seen.end?.fate, bench.link?.openCalls()], ["cancelled", 0])
    }))

  it.effect("leaves the frames as they are where the gateway has none, and else drops what it has and counts on", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      let made: Attempt | undefined
      const after = (_: StreamUnderWay, attempt: Attempt) => {
        made = attempt
      }
      const [empty, first] = [frame(token(0, "")), frame(token(1, "one"))]
      yield* opening(bench, { after })
      assert.isDefined(made)
      assert.isUndefined(made?.rewriting)
      // Two frames without a token are there, and come again.
      yield* opening(bench, { after, before: ({ tally }) => void (tally.frames = 2) })
      assert.deepStrictEqual([empty, empty, first].map((one) => indexesOf(made?.rewriting?.rewrite(one))), [
        undefined,
        undefined,
        [2]
      ])
      // A notice of ours is no frame of the worker's.
      yield* opening(bench, { after, before: (stream) => void (stream.noticed = true) })
      assert.deepStrictEqual([empty, first].map((one) => indexesOf(made?.rewriting?.rewrite(one))), [[1], [2]])
    }))
})

describe("The worker's headers", () => {
  const passing = (bench: StreamBench, before?: (stream: StreamUnderWay) => void) =>
    opening(bench, { after: passHeaders, ...(before === undefined ? {} : { before }) })

  it.effect("go to the gateway as they come, with the encoding of its frames, once", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const one = yield* passing(bench)
      assert.deepStrictEqual([one.call.headers, one.stream.answered], [undefined, false])
      bench.calls[0]?.headers({ "x-a": "1", "grpc-encoding": "gzip" })
      assert.deepStrictEqual(one.call.headers, { "x-a": "1", "grpc-encoding": "gzip" })
      assert.deepStrictEqual([one.call.replyEncoding, one.stream.answered], ["gzip", true])
    }))

  it.effect("are not for a gateway that has some, of a worker's or with a notice of ours", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const answered = yield* passing(bench, (stream) => void (stream.answered = true))
      const noticed = yield* passing(bench, (stream) => void (stream.noticed = true))
      for (const call of bench.calls) call.headers({ "x-a": "1" })
      assert.deepStrictEqual([answered.call.headers, noticed.call.headers], [undefined, undefined])
      assert.isFalse(noticed.stream.answered)
    }))

  it.effect("are those of the attempt that it makes now", () =>
    Effect.gen(function*() {
      const bench = yield* makeBench()
      const link = bench.link ?? assert.fail("there is a link")
      const one = yield* begin(bench, (stream) => {
        const attempt = Effect.map(open(stream, link), (made) => passHeaders(stream, made))
        return Effect.andThen(attempt, Effect.andThen(attempt, Effect.never))
      })
      bench.calls[0]?.headers({ "x-a": "old" })
      assert.isUndefined(one.call.headers)
      bench.calls[1]?.headers({ "x-a": "new" })
      assert.deepStrictEqual(one.call.headers, { "x-a": "new" })
      yield* Fiber.interrupt(one.fiber)
    }))
})
