import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Random } from "effect"
import { InferenceProxy, UsageJournal, WorkerConnection } from "../../src/index.ts"
import { Answer, ScriptedGateway, ScriptedWorker, Simulation, Timeline } from "../../src/testing.ts"
import { soak } from "../support/run/soak.ts"
import { Chance } from "./explorer/chance.ts"
import { VirtualTime } from "./explorer/virtualTime.ts"

const { Action } = Timeline

const OUTAGES = soak(100, 30)
const STREAMS_EACH = soak(100, 60)

const outages = [
  { words: "dies", begin: Action.Die(), end: Action.ComeBack() },
  { words: "vanishes", begin: Action.Vanish(), end: Action.ComeBack() },
  { words: "hangs", begin: Action.Hang(), end: Action.ComeBack() },
  { words: "is replaced", begin: Action.Replace(), end: Action.ComeBack() },
  { words: "says GOAWAY", begin: Action.GoAway(), end: Action.ComeBack() },
  { words: "reloads", begin: Action.Reload({ seconds: 10, eta: true, gone: false }), end: Action.ComeBack() }
] as const

/** Gateways of all kinds: patient, slow, stalled, gone, in a hurry. */
const gateway = (n: number): ScriptedGateway.GatewayOptions => {
  switch (n % 6) {
    case 1:
      return { cancelAfter: 37 * n }
    case 2:
      return { timeoutMillis: 53 * n }
    case 3:
      return { reader: { every: 200 }, windowBytes: 100 }
    case 4:
      return { vanishAfter: 29 * n, reader: { stallAfter: 2 }, windowBytes: 100 }
    case 5:
      return { cancelAfterMessages: 3 }
    default:
      return {}
  }
}

/** One outage with its streams: half of them are under way when it begins, half come in it. */
const outage = Effect.fnUntraced(function*(round: number) {
  const worker = yield* ScriptedWorker.ScriptedWorker
  const { begin, end } = outages[round % outages.length] ?? outages[0]
  const before = yield* ScriptedGateway.openMany(STREAMS_EACH / 2, gateway)
  yield* Effect.sleep("1 second")
  yield* worker.perform(begin)
  yield* Effect.sleep("2 seconds")
  const during = yield* ScriptedGateway.openMany(STREAMS_EACH / 2, gateway)
  yield* Effect.sleep("15 seconds")
  yield* worker.perform(end)
  yield* (yield* WorkerConnection).awaitConnected
  yield* Effect.forEach([...before, ...during], (call) => call.handled)
})

const history = Effect.gen(function*() {
  yield* Simulation.connected
  for (let round = 0; round < OUTAGES; round++) yield* Effect.scoped(outage(round))
  const proxy = yield* InferenceProxy
  const worker = yield* ScriptedWorker.ScriptedWorker
  const journal = yield* UsageJournal
  return {
    inFlight: proxy.inFlight(),
    openCalls: worker.calls().filter(({ end }) => end === undefined).length,
    streams: worker.streams().length,
    records: (yield* journal.balance).delivered.records,
    openLinks: worker.openLinks
  }
})

/** What keeps the event loop alive, by kind. */
const resources = (): string => process.getActiveResourcesInfo().toSorted().join(" ")

describe(`After ${OUTAGES * STREAMS_EACH} streams and ${OUTAGES} outages`, () => {
  it("no fiber, timer, link or resource of Node's is left once the scope closes", async () => {
    // A turn for what the test runner itself has under way.
    await new Promise((resolve) => setImmediate(resolve))
    const before = resources()
    const time = new VirtualTime(new Chance(1, 0), { stall: 0.05, shuffle: true, yields: 0, earlyTimers: true })
    const exit = time.run(
      history.pipe(
        Effect.scoped,
        Effect.provide(
          Simulation.layer({
            worker: { answer: Answer.tokens({ tokens: 10, every: 300 }) },
            config: {
              server: { slow_reader_timeout_secs: 10, stream_idle_timeout_secs: 20 },
              reload: { hold_on_disconnect_secs: 10 }
            }
          }).pipe(Layer.provideMerge(Logger.layer([])))
        ),
        Random.withSeed("leaks")
      )
    )
    assert.isTrue(Exit.isSuccess(exit), String(exit))
    if (!Exit.isSuccess(exit)) return
    const { inFlight, openCalls, openLinks, records, streams } = exit.value
    assert.strictEqual(records, OUTAGES * STREAMS_EACH)
    assert.isAbove(streams, OUTAGES * STREAMS_EACH / 2)
    assert.strictEqual(inFlight, 0)
    assert.isAtMost(openCalls, 1)
    assert.strictEqual(openLinks(), 0)
    assert.deepStrictEqual(time.left, { fibers: 0, sleepers: 0, tasks: 0 })
    assert.strictEqual(resources(), before)
  })

  it("the count of what is left is not blind", () => {
    const time = new VirtualTime(new Chance(1, 0), { stall: 0, shuffle: false, yields: 0, earlyTimers: false })
    time.run(Effect.forkDetach(Effect.sleep("1 hour"), { startImmediately: true }))
    assert.deepStrictEqual(time.left, { fibers: 1, sleepers: 1, tasks: 0 })
  })
})
