import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { TestClock } from "effect/testing"
import { type Broker, type BrokerMessage, BrokerRefusal, BrokerTrouble } from "../../src/internal/outbound/broker.ts"
import { makeSink } from "../../src/layers/NatsBillingSink.ts"
import type { UsageBatch } from "../../src/services/UsageJournal.ts"
import { record } from "../suites/usageSupport.ts"

const batchOf = (count: number): UsageBatch => ({
  batchId: "b-1",
  sidecarId: "host-1",
  records: Array.from({ length: count }, (_, index) => ({ ...record(3, { id: `id-${index}` }), sidecar_id: "host-1" }))
})

const full = new BrokerTrouble({ reason: "full", detail: "no room", remedy: "make some" })

type Answer = Effect.Effect<{ readonly duplicate: boolean }, BrokerTrouble | BrokerRefusal>

const stored: Answer = Effect.succeed({ duplicate: false })

/** A broker that answers message by message as it is told, and what it has seen. */
const makeBroker = (answer: (message: BrokerMessage, number: number) => Answer) => {
  const seen: Array<string> = []
  const figures = { sessions: 0, forgotten: 0, open: 0, mostOpen: 0 }
  const broker: Broker = {
    session: Effect.sync(() => {
      figures.sessions++
      return {
        publish: (message) =>
          Effect.suspend(() => {
            seen.push(message.id)
            figures.mostOpen = Math.max(figures.mostOpen, ++figures.open)
            return answer(message, seen.length)
          }).pipe(Effect.ensuring(Effect.sync(() => void figures.open--)))
      }
    }),
    forget: Effect.sync(() => void figures.forgotten++)
  }
  return { broker, seen, figures, sink: makeSink(broker, "records") }
}

describe("the sink for a broker that stores records one by one", () => {
  it.effect("has many messages on their way at once, and no more than 64", () =>
    Effect.gen(function*() {
      const { figures, sink } = makeBroker(() => Effect.delay(stored, "1 second"))
      const sending = yield* Effect.forkChild(sink.send(batchOf(500)), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(figures.mostOpen, 64)
      yield* TestClock.adjust("7 seconds")
      const exit = sending.pollUnsafe()
      assert.deepStrictEqual(exit?._tag === "Success" ? exit.value : undefined, { _tag: "Accepted", duplicate: false })
      assert.strictEqual(figures.mostOpen, 64)
    }))

  it.effect("accepts when all is stored, as a duplicate when all was", () =>
    Effect.gen(function*() {
      const again = makeBroker(() => Effect.succeed({ duplicate: true }))
      assert.deepStrictEqual(yield* again.sink.send(batchOf(3)), { _tag: "Accepted", duplicate: true })
      const some = makeBroker(({ id }) => Effect.succeed({ duplicate: id === "id-1" }))
      assert.deepStrictEqual(yield* some.sink.send(batchOf(3)), { _tag: "Accepted", duplicate: false })
    }))

  it.effect("answers for those that were stored before the trouble, and sends no other", () =>
    Effect.gen(function*() {
      const { seen, sink } = makeBroker((_, number) => number > 5 ? Effect.fail(full) : stored)
      assert.deepStrictEqual(yield* sink.send(batchOf(500)), {
        _tag: "Partly",
        accepted: ["id-0", "id-1", "id-2", "id-3", "id-4"],
        refused: []
      })
      assert.strictEqual(seen.length, 6)
    }))

  it.effect("waits for those on their way when one is in trouble", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<{ readonly duplicate: boolean }>()
      const { sink } = makeBroker(({ id }) => id === "id-0" ? Deferred.await(gate) : Effect.fail(full))
      const sending = yield* Effect.forkChild(sink.send(batchOf(2)), { startImmediately: true })
      assert.isUndefined(sending.pollUnsafe())
      yield* Deferred.succeed(gate, { duplicate: false })
      yield* TestClock.adjust("1 milli")
      const exit = sending.pollUnsafe()
      assert.deepStrictEqual(exit?._tag === "Success" ? exit.value : undefined, {
        _tag: "Partly",
        accepted: ["id-0"],
        refused: []
      })
    }))

  it.effect("says the trouble and its remedy when nothing was stored", () =>
    Effect.gen(function*() {
      const { sink } = makeBroker(() => Effect.fail(full))
      assert.deepStrictEqual(yield* sink.send(batchOf(500)), {
        _tag: "Later",
        reason: "full",
        detail: "no room",
        remedy: "make some",
        retryAfterMillis: undefined
      })
      const unreachable = makeSink({ session: Effect.fail(full), forget: Effect.void }, "records")
      assert.strictEqual((yield* unreachable.send(batchOf(1)))._tag, "Later")
    }))

  it.effect("names the record that is refused, and delivers all others", () =>
    Effect.gen(function*() {
      const { sink } = makeBroker(({ id }) => id === "id-7" ? Effect.fail(new BrokerRefusal({ detail: "no" })) : stored)
      const verdict = yield* sink.send(batchOf(100))
      assert.strictEqual(verdict._tag === "Partly" ? verdict.accepted.length : 0, 99)
      assert.deepStrictEqual(verdict._tag === "Partly" ? verdict.refused : [], [{ recordId: "id-7", detail: "no" }])
    }))

  it.effect("gives up a message that nobody acknowledges for ten seconds, and the connection with it", () =>
    Effect.gen(function*() {
      const { figures, seen, sink } = makeBroker(() => Effect.never)
      const sending = yield* Effect.forkChild(sink.send(batchOf(500)), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      const exit = sending.pollUnsafe()
      assert.deepStrictEqual(exit?._tag === "Success" ? exit.value : undefined, {
        _tag: "Later",
        reason: "timeout",
        detail: "no acknowledgement within 10 seconds",
        remedy: "look at the broker: its log, room on its disk, and whether the stream acknowledges (no_ack)",
        retryAfterMillis: undefined
      })
      assert.strictEqual(seen.length, 64)
      assert.strictEqual(figures.forgotten, 1)
      assert.strictEqual(figures.open, 0)
    }))
})
