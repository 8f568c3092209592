import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Status from "../../src/services/Status.ts"
import { type CallEnd, noMetadata } from "../../src/services/Wire.ts"
import { WorkerChannel, type WorkerLink } from "../../src/services/WorkerChannel.ts"
import { Answer, Messages, Recorder, ScriptedWorker, Timeline } from "../../src/testing.ts"
import { settle } from "../support/connectionWorld.ts"
import { listenTo } from "../support/listening.ts"

const { Action } = Timeline
const Worker = ScriptedWorker.ScriptedWorker
const request = Messages.framed(Messages.encodeRequest({ modelId: "m", prompt: "p", traceId: "trace" }))

const dial = Effect.flatMap(WorkerChannel, (channel) => channel.dial)

interface Heard {
  readonly replies: Array<Messages.PredictReply>
  end: CallEnd | undefined
}

interface CallOptions {
  readonly path?: string
  readonly body?: ReadonlyArray<Uint8Array>
  readonly halfClose?: boolean
  /** The reader is full after so many batches, and after each further one. */
  readonly fullAfter?: number
}

/** Opens a call and hears all of it. */
const call = (link: WorkerLink, options: CallOptions = {}) => {
  const heard: Heard = { replies: [], end: undefined }
  const { body = [request], fullAfter = Infinity, halfClose = true, path = ScriptedWorker.STREAM_PREDICT } = options
  let room = fullAfter
  const handle = listenTo(link, { path, metadata: noMetadata, timeoutMillis: 5000 }, {
    onHeaders: () => {},
    onFrames: (batch) => {
      heard.replies.push(...Messages.unframed(batch).map(Messages.decodeReply))
      return --room > 0
    },
    onDrain: () => {},
    onEnd: (end) => {
      heard.end = end
    }
  })
  for (const frames of body) handle.write(frames)
  if (halfClose) handle.halfClose()
  return { heard, handle }
}

const scoped = (options: ScriptedWorker.Options = {}) =>
<A, E>(
  effect: Effect.Effect<A, E, WorkerChannel | ScriptedWorker.ScriptedWorker | Recorder.Recorder | Scope.Scope>
) => Effect.scoped(effect).pipe(Effect.provide(ScriptedWorker.layer(options)))

describe("ScriptedWorker follows the wire contract", () => {
  it.effect("streams tokens with a gapless index, the trace id and an empty last message", () =>
    Effect.gen(function*() {
      const { heard } = call(yield* dial)
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(heard.replies.map((reply) => reply.index), [0, 1, 2, 3])
      assert.deepStrictEqual(heard.replies.map((reply) => reply.chunk), ["t0 ", "t1 ", "t2 ", ""])
      assert.deepStrictEqual(heard.replies.map((reply) => reply.endOfStream), [false, false, false, true])
      assert.isTrue(heard.replies.every((reply) => reply.traceId === "trace"))
      assert.strictEqual(heard.end?.status.code, Status.Code.OK)
    }).pipe(scoped({ answer: Answer.tokens({ tokens: 3 }) })))

  it.effect("answers after the first message, before the half-close, and refuses an empty stream", () =>
    Effect.gen(function*() {
      const link = yield* dial
      const open = call(link, { halfClose: false })
      open.handle.write(request)
      const none = call(link, { body: [] })
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.strictEqual(open.heard.end?.status.code, Status.Code.OK)
      assert.strictEqual(none.heard.end?.status.code, Status.Code.INVALID_ARGUMENT)
      const [stream] = (yield* Worker).streams()
      assert.strictEqual(stream?.requests.length, 2)
      assert.isUndefined(stream?.halfClosedAt)
    }).pipe(scoped()))

  it.effect("sends loading notices within the stream, as part of its index", () =>
    Effect.gen(function*() {
      const worker = yield* Worker
      const link = yield* dial
      yield* worker.perform(Action.Reload({ seconds: 3, eta: true, gone: false }))
      const { heard } = call(link)
      yield* settle
      yield* TestClock.adjust("5 seconds")
      const notices = heard.replies.filter((reply) => reply.chunk.startsWith("[模型加载]"))
      assert.strictEqual(notices.length, 3)
      assert.deepStrictEqual(heard.replies.map((reply) => reply.index), heard.replies.map((_, n) => n))
      assert.isTrue(heard.replies.at(-1)?.endOfStream)
    }).pipe(scoped()))

  it.effect("answers Control and refuses methods that it does not know", () =>
    Effect.gen(function*() {
      const link = yield* dial
      const control = call(link, {
        path: "/cy.llm.AiInference/Control",
        body: [Messages.framed(new Uint8Array([18, 4, 112, 105, 110, 103]))]
      })
      const training = call(link, { path: "/cy.llm.AiTraining/ListTrainingJobs" })
      yield* settle
      assert.strictEqual(control.heard.replies[0]?.chunk, "ping_response")
      assert.strictEqual(control.heard.end?.status.code, Status.Code.OK)
      assert.strictEqual(training.heard.end?.status.code, Status.Code.UNIMPLEMENTED)
    }).pipe(scoped()))

  it.effect("keeps Health waiting while all its threads are busy", () =>
    Effect.gen(function*() {
      const link = yield* dial
      const busy = [call(link), call(link)]
      const health = call(link, { path: "/cy.llm.AiInference/Health" })
      yield* settle
      yield* TestClock.adjust("59 seconds")
      assert.isUndefined(health.heard.end?.reason)
      busy[0]?.handle.cancel()
      yield* TestClock.adjust("1 millis")
      // The generation goes on without its reader.
      assert.isUndefined(health.heard.end?.reason)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(health.heard.end?.status.code, Status.Code.OK)
    }).pipe(scoped({
      threads: 2,
      generationSurvivesCancel: true,
      answer: Answer.tokens({ tokens: 61, every: "1 second" })
    })))
})

describe("ScriptedWorker, as a wire", () => {
  it.effect("sends no further than the window to a reader that is full, and loses nothing", () =>
    Effect.gen(function*() {
      const { handle, heard } = call(yield* dial, { fullAfter: 1 })
      yield* settle
      yield* TestClock.adjust("1 minute")
      const worker = yield* Worker
      assert.strictEqual(heard.replies.length, 1)
      // 64 KiB of frames of 10 kB ahead of the reader.
      assert.isBelow(worker.streams()[0]!.framesSent, 10)
      handle.resume()
      assert.strictEqual(heard.replies.length, 2)
      for (let n = 0; n < 200 && heard.end === undefined; n++) {
        handle.resume()
        yield* settle
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual(heard.replies.length, 51)
      assert.strictEqual(heard.end?.status.code, Status.Code.OK)
    }).pipe(
      scoped({ answer: Answer.tokens({ tokens: Array.from({ length: 50 }, () => "x".repeat(10_000)), every: 1 }) })
    ))

  it.effect("hands over what had arrived before it tells that the link broke", () =>
    Effect.gen(function*() {
      const { handle, heard } = call(yield* dial, { fullAfter: 1 })
      yield* settle
      yield* TestClock.adjust("50 millis")
      yield* (yield* Worker).perform(Action.Die())
      assert.strictEqual(heard.replies.length, 1)
      assert.isUndefined(heard.end?.reason)
      handle.resume()
      handle.resume()
      handle.resume()
      assert.strictEqual(heard.replies.length, 3)
      assert.strictEqual(heard.end?.reason, "transport")
    }).pipe(scoped()))

  it.effect("records when a call was cancelled, and says nothing more to its listener", () =>
    Effect.gen(function*() {
      const { handle, heard } = call(yield* dial)
      yield* settle
      yield* TestClock.adjust("30 millis")
      handle.cancel()
      const before = heard.replies.length
      yield* TestClock.adjust("1 second")
      const [stream] = (yield* Worker).streams()
      assert.deepStrictEqual(stream?.end, { at: 30, fate: "cancelled", code: Status.Code.CANCELLED })
      assert.strictEqual(heard.replies.length, before)
      assert.isUndefined(heard.end?.reason)
      assert.strictEqual(stream?.timeoutMillis, 5000)
      assert.deepStrictEqual(stream?.requests.map((message) => Messages.decodeRequest(message).prompt), ["p"])
    }).pipe(scoped()))

  it.effect("breaks the link after as many frames as it was told", () =>
    Effect.gen(function*() {
      const link = yield* dial
      yield* (yield* Worker).perform(Action.BreakAfter({ frames: 3 }))
      const { heard } = call(link)
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.strictEqual(heard.replies.length, 3)
      assert.strictEqual(heard.end?.reason, "transport")
      assert.strictEqual((yield* link.gone).fault, "LinkBroken")
      const refused = call(link)
      assert.strictEqual(refused.heard.end?.reason, "refused")
    }).pipe(scoped()))

  it.effect("lets the running calls finish after GOAWAY and refuses new ones", () =>
    Effect.gen(function*() {
      const link = yield* dial
      const { heard } = call(link)
      yield* settle
      yield* (yield* Worker).perform(Action.GoAway())
      assert.strictEqual((yield* link.gone).fault, "GoingAway")
      assert.strictEqual(call(link).heard.end?.reason, "refused")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(heard.end?.status.code, Status.Code.OK)
      assert.strictEqual(link.openCalls(), 0)
    }).pipe(scoped()))

  it.effect("ends its calls when the sidecar closes the link", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const link = yield* Scope.provide(dial, scope)
      const { heard } = call(link)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(heard.end?.reason, "transport")
      assert.strictEqual((yield* Worker).openLinks(), 0)
    }).pipe(scoped()))

  it.effect("tells the ways apart in which nobody is there, and its address from the watch", () =>
    Effect.gen(function*() {
      const worker = yield* Worker
      const channel = yield* WorkerChannel
      const changes: Array<string> = []
      yield* channel.addressChanges.pipe(
        Stream.runForEach((change) => Effect.sync(() => changes.push(change))),
        Effect.forkScoped({ startImmediately: true })
      )
      const fault = Effect.map(Effect.flip(Effect.scoped(dial)), (error) => error.fault)
      yield* worker.perform(Action.Die())
      assert.strictEqual(yield* fault, "ConnectionRefused")
      yield* worker.perform(Action.ComeBack())
      yield* Effect.scoped(dial)
      yield* worker.perform(Action.Vanish())
      assert.strictEqual(yield* fault, "SocketMissing")
      yield* worker.perform(Action.ComeBack())
      yield* worker.perform(Action.Unreachable({ fault: "PermissionDenied" }))
      assert.strictEqual(yield* fault, "PermissionDenied")
      yield* settle
      assert.deepStrictEqual(changes, ["replaced", "vanished", "appeared"])
      assert.strictEqual(worker.dials(), 4)
    }).pipe(scoped()))

  it.effect("answers with the frames of a Stream and with the status that it fails with", () =>
    Effect.gen(function*() {
      const { heard } = call(yield* dial)
      yield* settle
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(heard.replies.map((reply) => reply.chunk), ["p1", "p2"])
      assert.strictEqual(heard.end?.status.code, Status.Code.RESOURCE_EXHAUSTED)
      assert.strictEqual(heard.end?.status.message, "out of memory")
    }).pipe(scoped({
      answer: Answer.stream((request) =>
        Stream.make(1, 2).pipe(
          Stream.mapEffect((n) =>
            Effect.as(
              Effect.sleep("1 second"),
              Messages.framed(Messages.encodeReply({ chunk: `${request?.prompt}${n}` }))
            )
          ),
          Stream.concat(Stream.fail(Status.make(Status.Code.RESOURCE_EXHAUSTED, "out of memory")))
        )
      )
    })))

  it.effect("plays a timeline and records what it did", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 minute")
      const trace = (yield* Recorder.Recorder).format()
      assert.strictEqual(
        trace,
        ["    10.000s timeline die", "    40.000s timeline come back"].join("\n")
      )
    }).pipe(scoped({ timeline: "at 40s: come back\nat 10s: die" })))

  it.effect("does not start with a timeline that it does not understand", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.void.pipe(scoped({ timeline: "at 10s: explode" })))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), "explode")
    }))
})
