import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber } from "effect"
import { type EndFacts, endOf } from "../../src/internal/stream/endOf.ts"
import { mayReplay } from "../../src/internal/stream/replay.ts"
import { openingOf } from "../../src/internal/stream/replies.ts"
import * as Status from "../../src/services/Status.ts"
import * as E from "../../src/services/StreamError.ts"

const facts = (some: Partial<EndFacts> = {}): EndFacts => ({
  ended: false,
  delivered: 3,
  missed: false,
  status: undefined,
  at: 1,
  ...some
})

const told = (exit: Exit.Exit<void, E.StreamError>, some?: Partial<EndFacts>) => {
  const { delivery, outcome, status } = endOf(exit, facts(some))
  return [outcome, status.code, status.metadata["cy-reason"], delivery]
}

/** The exit of a fiber that was interrupted with these, one after the other. */
const interrupted = (...errors: ReadonlyArray<E.StreamError>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkDetach(Effect.never, { startImmediately: true })
    for (const error of errors) E.interruptWith(fiber, error)
    return yield* Fiber.await(fiber)
  })

const cancelled = new E.GatewayGone({ departure: "cancelled" })

describe("How a stream ended, from its exit alone", () => {
  it("is OK only by the worker's word", () => {
    const status = Status.make(Status.Code.OK, "", { "x-a": "1" })
    assert.deepStrictEqual(endOf(Exit.void, facts({ status, ended: true })).status, status)
    assert.deepStrictEqual(told(Exit.void, { status, ended: true }), ["completed", 0, undefined, "flush"])
  })

  it("is what it failed with", () => {
    const lost = new E.WorkerLost({ delivered: 3, retryAfterMillis: 1 })
    assert.deepStrictEqual(told(Exit.fail(lost)), ["worker_lost", 14, "worker_lost", "flush"])
    const truncated = new E.Truncated({ kind: "truncated", delivered: 3 })
    assert.deepStrictEqual(told(Exit.fail(truncated)), ["truncated", 15, "truncated", "flush"])
  })

  it.effect("is the reason of its interruption, the first of several", () =>
    Effect.gen(function*() {
      const ends: ReadonlyArray<readonly [E.StreamError, ReturnType<typeof told>]> = [
        [cancelled, ["cancelled", 1, "cancelled", "flush"]],
        [new E.DeadlineExceeded({ delivered: 3 }), ["deadline", 4, "deadline", "now"]],
        [new E.SlowReader({ delivered: 3 }), ["slow_reader", 1, "slow_reader", "now"]],
        [new E.Draining({ delivered: 3 }), ["drained", 14, "draining", "now"]],
        [new E.Killed({ delivered: 3 }), ["drained", 10, "killed", "now"]],
        [new E.HoldTimeout({ heldMillis: 1, retryAfterMillis: 1 }), ["refused", 14, "hold_timeout", "flush"]]
      ]
      for (const [error, expected] of ends) {
        assert.deepStrictEqual(told(yield* interrupted(error)), expected)
        assert.deepStrictEqual(
          told(
            yield* interrupted(
              error,
              new E.StreamIdle({
                phase: "idle",
                idleSecs: 1,
                delivered: 3
              })
            )
          ),
          expected
        )
      }
    }))

  it.effect("is no failure when the gateway has its end already", () =>
    Effect.gen(function*() {
      const harmless = [cancelled, new E.DeadlineExceeded({ delivered: 3 }), new E.Rejected({ status: Status.ok })]
      for (const error of harmless) {
        assert.deepStrictEqual(told(yield* interrupted(error), { ended: true }), ["completed", 0, undefined, "flush"])
      }
      const slow = yield* interrupted(new E.SlowReader({ delivered: 3 }))
      assert.strictEqual(told(slow, { ended: true })[0], "slow_reader")
    }))

  it.effect("is the deadline when an RST comes with it, and a cancellation when nobody said why", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(told(yield* interrupted(cancelled), { missed: true }), ["deadline", 4, "deadline", "now"])
      assert.strictEqual(told(Exit.failCause(Cause.interrupt()))[0], "cancelled")
      assert.strictEqual(told(Exit.die("a defect"))[0], "cancelled")
    }))
})

describe("A stream whose worker is lost", () => {
  const broken = { reason: "transport", delivered: 0, replayable: true, replays: 0, refusals: 0 } as const

  it("is sent again once, before its first token, if all of it is kept", () => {
    assert.isTrue(mayReplay(broken))
    assert.isFalse(mayReplay({ ...broken, replays: 1 }))
    assert.isFalse(mayReplay({ ...broken, delivered: 1 }))
    assert.isFalse(mayReplay({ ...broken, replayable: false }))
  })

  it("is sent again some times when the worker has not seen it", () => {
    assert.isTrue(mayReplay({ ...broken, reason: "refused", replays: 1, refusals: 9 }))
    assert.isFalse(mayReplay({ ...broken, reason: "refused", refusals: 10 }))
  })

  it("counts against the circuit when the link broke or the worker failed within, and for nothing else", () => {
    const status = (code: number) => ({ reason: "status", status: Status.make(code, "") }) as const
    assert.strictEqual(openingOf({ ...status(14), reason: "transport" }, false), "failed")
    assert.strictEqual(openingOf(status(Status.Code.INTERNAL), false), "failed")
    assert.strictEqual(openingOf(status(Status.Code.NOT_FOUND), false), "ignored")
    assert.strictEqual(openingOf({ ...status(14), reason: "refused" }, false), "ignored")
    assert.strictEqual(openingOf({ ...status(14), reason: "transport" }, true), "ignored")
  })
})
