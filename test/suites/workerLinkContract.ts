import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, type Scope } from "effect"
import { frame } from "../../src/internal/wire/frames.ts"
import { Code } from "../../src/services/Status.ts"
import type { WorkerLink } from "../../src/services/WorkerChannel.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"
import { openCall } from "../support/replies.ts"

/** A call as the worker has it. */
export interface PeerCall {
  readonly send: (...messages: ReadonlyArray<Uint8Array>) => void
  readonly end: (code: number, message: string) => void
  readonly cancelled: Promise<unknown>
}

/** A link, and the worker at its other end. */
export interface LinkBench {
  readonly link: WorkerLink
  readonly nextCall: () => Promise<PeerCall>
  /** The worker's process ends at once. */
  readonly die: Effect.Effect<void>
  /** GOAWAY on the connection of this call. */
  readonly goAway: (call: PeerCall) => Effect.Effect<void>
  /** The worker's process stands still: SIGSTOP. */
  readonly freeze: Effect.Effect<void>
  /** And goes on: SIGCONT. */
  readonly thaw: Effect.Effect<void>
}

const wait = <A>(promise: Promise<A>): Effect.Effect<A> => Effect.promise(() => promise)

/**
 * What the port alone promises, whatever stands behind it: run against the wires and against the scripted worker, so
 * that the script cannot drift from the real thing.
 */
export const workerLinkContract = (name: string, open: Effect.Effect<LinkBench, unknown, Scope.Scope>): void => {
  /** A call whose first request has been sent. */
  const begin = (link: WorkerLink) => {
    const opened = openCall(link)
    opened.call.write(frame(request()))
    return opened
  }

  describe(`${name} keeps the port's contract`, () => {
    it.live("hands over frames, then the end, once", () =>
      Effect.gen(function*() {
        const { link, nextCall } = yield* open
        const { call, replies } = begin(link)
        call.halfClose()
        const peer = yield* wait(nextCall())
        assert.strictEqual(link.openCalls(), 1)
        const sent = [...tokens(20), endOfStream(20)]
        peer.send(...sent)
        peer.end(Code.OK, "")
        const end = yield* wait(replies.end)
        assert.deepStrictEqual([end.reason, end.status.code], ["status", Code.OK])
        assert.strictEqual(Buffer.concat(replies.batches).compare(Buffer.concat(sent.map((one) => frame(one)))), 0)
        assert.deepStrictEqual([replies.ends, replies.order.at(-1)], [1, "end"])
        assert.isTrue(call.write(frame(request())))
        call.cancel()
        assert.strictEqual(replies.ends, 1)
      }).pipe(Effect.scoped))

    it.live("tells a refusal without headers or frames", () =>
      Effect.gen(function*() {
        const { link, nextCall } = yield* open
        const { call, replies } = begin(link)
        call.halfClose()
        ;(yield* wait(nextCall())).end(Code.NOT_FOUND, "no such model")
        const { reason, status } = yield* wait(replies.end)
        assert.deepStrictEqual([reason, status.code, status.message], ["status", Code.NOT_FOUND, "no such model"])
        assert.deepStrictEqual(replies.order, ["end"])
      }).pipe(Effect.scoped))

    it.live("keeps what a full listener has not taken, and the end behind it", () =>
      Effect.gen(function*() {
        const { link, nextCall } = yield* open
        const { call, replies } = begin(link)
        call.halfClose()
        replies.full = true
        const peer = yield* wait(nextCall())
        peer.send(...tokens(1))
        yield* wait(replies.messages.count(1, "a token"))
        peer.send(...tokens(30, 1))
        peer.end(Code.OK, "")
        yield* Effect.sleep(20)
        assert.isFalse(replies.ended)
        replies.full = false
        call.resume()
        yield* wait(replies.end)
        assert.strictEqual(replies.messages.all.length, 31)
        assert.strictEqual(replies.order.at(-1), "end")
      }).pipe(Effect.scoped))

    it.live("says nothing more after a cancel, and the worker hears of it", () =>
      Effect.gen(function*() {
        const { link, nextCall } = yield* open
        const { call, replies } = begin(link)
        const peer = yield* wait(nextCall())
        peer.send(...tokens(1))
        yield* wait(replies.messages.count(1, "a token"))
        call.cancel()
        const heard = replies.order.length
        yield* wait(peer.cancelled)
        assert.strictEqual(replies.order.length, heard)
        while (link.openCalls() > 0) yield* Effect.sleep(1)
      }).pipe(Effect.scoped))

    it.live("ends its calls by transport when the worker dies, and refuses new ones", () =>
      Effect.gen(function*() {
        const { die, link, nextCall } = yield* open
        const { replies } = begin(link)
        const peer = yield* wait(nextCall())
        peer.send(...tokens(3))
        yield* wait(replies.messages.count(3, "tokens"))
        yield* die
        const end = yield* wait(replies.end)
        assert.deepStrictEqual([end.reason, end.status.code], ["transport", Code.UNAVAILABLE])
        assert.strictEqual((yield* link.gone).fault, "LinkBroken")
        const late = yield* wait(begin(link).replies.end)
        assert.deepStrictEqual([late.reason, late.status.code], ["refused", Code.UNAVAILABLE])
        while (link.openCalls() > 0) yield* Effect.sleep(1)
      }).pipe(Effect.scoped))

    it.live("lets a running call finish after GOAWAY, and refuses new ones", () =>
      Effect.gen(function*() {
        const { goAway, link, nextCall } = yield* open
        const { call, replies } = begin(link)
        call.halfClose()
        const peer = yield* wait(nextCall())
        peer.send(...tokens(1))
        yield* wait(replies.messages.count(1, "a token"))
        assert.isFalse(link.isGoingAway())
        yield* goAway(peer)
        assert.strictEqual((yield* link.gone).fault, "GoingAway")
        assert.isTrue(link.isGoingAway())
        assert.strictEqual((yield* wait(begin(link).replies.end)).reason, "refused")
        peer.send(...tokens(2, 1))
        peer.end(Code.OK, "")
        const end = yield* wait(replies.end)
        assert.deepStrictEqual([end.reason, end.status.code], ["status", Code.OK])
        assert.strictEqual(replies.messages.all.length, 3)
      }).pipe(Effect.scoped))

    it.live("knows that a worker is leaving when it ends a call behind its GOAWAY", () =>
      Effect.gen(function*() {
        const { goAway, link, nextCall } = yield* open
        const { replies } = begin(link)
        const peer = yield* wait(nextCall())
        peer.send(...tokens(1))
        yield* wait(replies.messages.count(1, "a token"))
        yield* goAway(peer)
        peer.end(Code.UNAVAILABLE, "Cancelling all calls")
        const { reason, status } = yield* wait(replies.end)
        assert.deepStrictEqual([reason, status.code, status.message], [
          "status",
          Code.UNAVAILABLE,
          "Cancelling all calls"
        ])
        assert.isTrue(link.isGoingAway())
      }).pipe(Effect.scoped))

    it.live("asks for a sign of life as often as wanted, and a worker that stands still gives none", () =>
      Effect.gen(function*() {
        const { freeze, link, nextCall, thaw } = yield* open
        const { call, replies } = begin(link)
        const peer = yield* wait(nextCall())
        assert.isDefined(link.ping)
        const ping = link.ping ?? Effect.never
        const asked = Effect.timeoutOption(ping, 5000).pipe(Effect.map(Option.isSome))
        for (let n = 0; n < 12; n++) assert.isTrue(yield* asked)
        yield* freeze
        assert.isTrue(Option.isNone(yield* Effect.timeoutOption(ping, 100)))
        yield* thaw
        assert.isTrue(yield* asked)
        assert.isFalse(replies.ended)
        call.cancel()
        assert.strictEqual(link.openCalls(), 0)
        yield* wait(peer.cancelled)
      }).pipe(Effect.scoped))
  })
}
