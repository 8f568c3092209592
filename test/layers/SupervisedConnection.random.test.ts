import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Random } from "effect"
import { TestClock } from "effect/testing"
import { LinkFault } from "../../src/services/WorkerChannel.ts"
import { WorkerConnection, type WorkerState } from "../../src/services/WorkerConnection.ts"
import { Answer, ScriptedWorker, Timeline } from "../../src/testing.ts"
import { openCall, settle, Told, wordsOf, world } from "../support/connectionWorld.ts"
import { soak } from "../support/run/soak.ts"

const { Action } = Timeline

/** Without the watch nobody can know that a living worker was replaced, so that does not happen. */
const randomAction = Effect.fnUntraced(function*(watch: boolean): Effect.fn.Return<Timeline.Action> {
  const seconds = yield* Random.nextIntBetween(1, 90)
  const flag = yield* Random.nextBoolean
  const fault = LinkFault.literals[yield* Random.nextIntBetween(0, LinkFault.literals.length - 1)] ?? "LinkBroken"
  const actions = [
    Action.Die(),
    Action.Vanish(),
    Action.ComeBack(),
    Action.ComeBack(),
    watch ? Action.Replace() : Action.ComeBack(),
    Action.GoAway(),
    Action.Stop({ seconds: seconds / 10 }),
    Action.Renew({ seconds }),
    Action.Hang(),
    Action.Wake(),
    Action.Saturate(),
    Action.Relieve(),
    Action.Healthy({ value: flag }),
    Action.HealthFails({ value: flag }),
    Action.Reload({ seconds, eta: flag, gone: seconds % 2 === 0 }),
    Action.Silent({ value: flag }),
    Action.Slow({ millis: seconds * 50 }),
    Action.BreakAfter({ frames: seconds }),
    Action.BreakLinks(),
    Action.Unreachable({ fault })
  ]
  return actions[yield* Random.nextIntBetween(0, actions.length - 1)] ?? Action.Die()
})

const takesStreams = (state: WorkerState): boolean => state._tag === "Connected" && state.renewing !== true

/** Two to three minutes of trouble at random moments, checked after every step. */
const story = (seed: number, watch = seed % 3 !== 0) =>
  Effect.gen(function*() {
    const connection = yield* WorkerConnection
    const worker = yield* ScriptedWorker.ScriptedWorker
    const told: Array<string> = []
    connection.onChange((state) => {
      told.push(wordsOf(state))
      // Whoever is told in the turn of the change sees the new state everywhere.
      assert.strictEqual(connection.current(), state)
      assert.strictEqual(connection.link() !== undefined, takesStreams(state))
    })
    yield* settle
    for (let step = 0; step < 60; step++) {
      const action = yield* randomAction(watch)
      yield* worker.perform(action)
      if (yield* Random.nextBoolean) yield* settle
      const link = connection.link()
      assert.strictEqual(link !== undefined, takesStreams(connection.current()))
      if (link !== undefined) {
        const call = openCall(link)
        if (yield* Random.nextBoolean) yield* TestClock.adjust("20 millis")
        if (yield* Random.nextBoolean) connection.suspect()
        assert.notStrictEqual(call.end?.reason, "refused", Timeline.formatAction(action))
      }
      if ((yield* Random.nextIntBetween(0, 20)) === 0) yield* connection.announceReload(undefined)
      if ((yield* Random.nextIntBetween(0, 20)) === 0) yield* connection.reconnect
      assert.isAtLeast(connection.retryAfterMillis(), 500)
      yield* TestClock.adjust(yield* Random.nextIntBetween(0, 5000))
    }
    // All is well again: connected within one wait, one dial and one probe.
    yield* worker.perform(Action.ComeBack())
    yield* TestClock.adjust("15 seconds")
    assert.strictEqual(connection.current()._tag, "Connected", `seed ${seed}`)
    yield* TestClock.adjust("40 minutes")
    assert.strictEqual(connection.current()._tag, "Connected", `seed ${seed}`)
    assert.strictEqual(worker.openLinks(), 1, `seed ${seed}`)
    assert.isBelow(worker.dials(), 400, `seed ${seed}`)
    const { states } = yield* Told
    assert.deepStrictEqual(states.slice(-told.length), told)
    return worker
  }).pipe(
    Effect.provide(Layer.provideMerge(
      world({ watch, answer: Answer.tokens({ tokens: 40, every: "500 millis" }) }),
      TestClock.layer()
    )),
    Random.withSeed(`connection ${seed}`)
  )

describe("SupervisedConnection, in random trouble", () => {
  const SEEDS = soak(100, 20)
  it.effect.each(Array.from({ length: SEEDS / 10 }, (_, n) => n * 10))(
    "keeps its promises and is Connected when all is well again (seeds from %d)",
    (from) =>
      Effect.gen(function*() {
        for (let seed = from; seed < from + 10; seed++) {
          const worker = yield* story(seed)
          assert.strictEqual(worker.openLinks(), 0, `seed ${seed}: a link outlived its scope`)
        }
      })
  )
})
