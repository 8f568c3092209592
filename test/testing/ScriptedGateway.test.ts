import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { TestClock } from "effect/testing"
import * as Status from "../../src/services/Status.ts"
import { errorOf } from "../../src/services/StreamError.ts"
import type { FrameBatch, ServerCall } from "../../src/services/Wire.ts"
import { Answer, Messages, Recorder, ScriptedGateway, ScriptedWorker, Simulation } from "../../src/testing.ts"
import { settle } from "../support/connectionWorld.ts"
import { listenToRequests } from "../support/listening.ts"

/** A handler that shows the test the call it was given, and works until it is interrupted. */
const capture = () => {
  const seen: {
    call: ServerCall | undefined
    interrupted: boolean
    readonly events: Array<string>
  } = { call: undefined, interrupted: false, events: [] }
  const listener = {
    onFrames: (batch: FrameBatch) => {
      seen.events.push(...Messages.unframed(batch).map((message) => Messages.decodeRequest(message).prompt))
      return true
    },
    onHalfClose: () => void seen.events.push("half-close")
  }
  const handler = (call: ServerCall) =>
    Effect.sync(() => {
      seen.call = call
      listenToRequests(call, listener)
    }).pipe(
      Effect.andThen(Effect.never),
      Effect.onExit((exit) =>
        Effect.sync(() => {
          const why = Exit.isFailure(exit) ? errorOf(exit.cause) : undefined
          if (why?._tag === "GatewayGone") seen.events.push(why.departure)
          seen.interrupted = true
        })
      )
    )
  return { seen, handler }
}

const reply = (chunk: string) => Messages.framed(Messages.encodeReply({ chunk }))

describe("ScriptedGateway", () => {
  it.effect("sends its request and half-close, and reads at once", () =>
    Effect.gen(function*() {
      const { handler, seen } = capture()
      const call = yield* ScriptedGateway.openOn(handler, { request: { prompt: "hello" } })
      assert.deepStrictEqual(seen.events, ["hello", "half-close"])
      assert.isTrue(seen.call?.write(reply("a")))
      assert.strictEqual(seen.call?.pendingBytes, 0)
      seen.call?.end(Status.ok)
      assert.deepStrictEqual((yield* call.ended).tokens, ["a"])
      assert.strictEqual(call.seen.status?.code, Status.Code.OK)
    }).pipe(Effect.scoped, Effect.provide(Recorder.layer)))

  it.effect("half-closes when told: at the end, or never", () =>
    Effect.gen(function*() {
      const late = capture()
      yield* ScriptedGateway.openOn(late.handler, { request: { prompt: "late" }, halfClose: "at the end" })
      const never = capture()
      yield* ScriptedGateway.openOn(never.handler, { request: { prompt: "never" }, halfClose: "never" })
      assert.deepStrictEqual(late.seen.events, ["late"])
      const last = Messages.framed(Messages.encodeReply({ endOfStream: true }))
      late.seen.call?.write(last)
      never.seen.call?.write(last)
      yield* settle
      assert.deepStrictEqual(late.seen.events, ["late", "half-close"])
      assert.deepStrictEqual(never.seen.events, ["never"])
    }).pipe(Effect.scoped, Effect.provide(Recorder.layer)))

  it.effect("answers full to a sidecar that is faster than its reader, and says when there is room", () =>
    Effect.gen(function*() {
      const { handler, seen } = capture()
      const call = yield* ScriptedGateway.openOn(handler, { reader: { every: "1 second" }, windowBytes: 30 })
      const big = reply("x".repeat(20))
      assert.isTrue(seen.call?.write(big))
      assert.isFalse(seen.call?.write(big))
      assert.strictEqual(seen.call?.pendingBytes, big.length * 2)
      seen.call?.end(Status.ok)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(call.seen.messages.length, 1)
      assert.isUndefined(call.seen.endedAt)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(call.seen.messages.length, 2)
      assert.strictEqual(call.seen.status?.code, Status.Code.OK)
      assert.strictEqual(call.seen.endedAt, 2000)
    }).pipe(Effect.scoped, Effect.provide(Recorder.layer)))

  it.effect("says drain while the call is open", () =>
    Effect.gen(function*() {
      const { handler, seen } = capture()
      const call = yield* ScriptedGateway.openOn(handler, { reader: { stallAfter: 1 }, windowBytes: 30 })
      const big = reply("x".repeat(20))
      seen.call?.write(big)
      yield* settle
      assert.strictEqual(call.seen.messages.length, 1)
      seen.call?.write(big)
      seen.call?.write(big)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(call.seen.messages.length, 1)
      if (seen.call !== undefined) Effect.runFork(Effect.map(seen.call.writable, () => seen.events.push("drain")))
      assert.notInclude(seen.events, "drain")
      yield* call.read(1)
      assert.include(seen.events, "drain")
    }).pipe(Effect.scoped, Effect.provide(Recorder.layer)))

  it.effect("shows what a sidecar gives up that ends the call now", () =>
    Effect.gen(function*() {
      const { handler, seen } = capture()
      const call = yield* ScriptedGateway.openOn(handler, { reader: { stallAfter: 0 } })
      seen.call?.write(reply("a"))
      seen.call?.write(reply("b"))
      seen.call?.end(Status.make(Status.Code.CANCELLED, "slow"), "now")
      seen.call?.end(Status.ok)
      assert.strictEqual(call.seen.status?.code, Status.Code.CANCELLED)
      assert.strictEqual(call.seen.abandoned, 2)
    }).pipe(Effect.scoped, Effect.provide(Recorder.layer)))

  it.effect("interrupts the handler when it leaves, after the listener has heard it", () =>
    Effect.gen(function*() {
      for (const departure of ["cancelled", "vanished"] as const) {
        const { handler, seen } = capture()
        const after = departure === "cancelled" ? { cancelAfter: "3 seconds" } as const : { vanishAfter: 3000 }
        const call = yield* ScriptedGateway.openOn(handler, after)
        const start = call.seen.startedAt
        yield* TestClock.adjust("10 seconds")
        const gone = yield* call.handled
        assert.strictEqual(gone.left, departure)
        assert.strictEqual(gone.endedAt, start + 3000)
        assert.isUndefined(gone.status)
        assert.strictEqual(seen.events.at(-1), departure)
        assert.isTrue(seen.interrupted)
      }
    }).pipe(Effect.scoped, Effect.provide(Recorder.layer)))

  it.effect("leaves after so many messages, in a turn of its own", () =>
    Effect.gen(function*() {
      const { handler, seen } = capture()
      const call = yield* ScriptedGateway.openOn(handler, { cancelAfterMessages: 2 })
      seen.call?.write(reply("a"))
      seen.call?.write(reply("b"))
      assert.notInclude(seen.events, "cancelled")
      yield* settle
      assert.include(seen.events, "cancelled")
      assert.deepStrictEqual(call.seen.tokens, ["a", "b"])
    }).pipe(Effect.scoped, Effect.provide(Recorder.layer)))

  it.effect("vanishes with its scope", () =>
    Effect.gen(function*() {
      const { handler, seen } = capture()
      yield* Effect.scoped(ScriptedGateway.openOn(handler))
      assert.strictEqual(seen.events.at(-1), "vanished")
      assert.isTrue(seen.interrupted)
    }).pipe(Effect.provide(Recorder.layer)))

  it.effect("drives the real proxy: many at once, each with its own answer", () =>
    Effect.gen(function*() {
      yield* Simulation.connected
      const calls = yield* ScriptedGateway.openMany(50, (n) => ({ request: { prompt: String(n) } }))
      yield* TestClock.adjust("10 seconds")
      for (const [n, call] of calls.entries()) {
        const reply = yield* call.handled
        assert.strictEqual(reply.status?.code, Status.Code.OK)
        assert.deepStrictEqual(reply.tokens, [`echo ${n}`])
      }
      const streams = (yield* ScriptedWorker.ScriptedWorker).streams()
      assert.strictEqual(streams.length, 50)
    }).pipe(
      Effect.scoped,
      Effect.provide(Simulation.layer({
        worker: {
          answer: (side) =>
            Effect.flatMap(side.request, (request) =>
              Answer.tokens({ tokens: [`echo ${Messages.decodeRequest(request ?? new Uint8Array()).prompt}`] })(side))
        }
      }))
    ))

  it.effect("waits for the whole of one call with predict", () =>
    Effect.gen(function*() {
      yield* Simulation.connected
      const reply = yield* ScriptedGateway.predict()
      assert.strictEqual(reply.status?.code, Status.Code.OK)
      assert.isDefined(reply.handledAt)
      assert.strictEqual(reply.headersAt, 0)
    }).pipe(Effect.provide(Simulation.layer({ worker: { answer: Answer.tokens({ tokens: ["one"] }) } }))))
})
