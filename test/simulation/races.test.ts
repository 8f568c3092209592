import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Random } from "effect"
import { InferenceProxy, Metrics } from "../../src/index.ts"
import { Answer, ScriptedGateway, ScriptedWorker, Simulation, Timeline } from "../../src/testing.ts"
import { Chance } from "./explorer/chance.ts"
import { VirtualTime } from "./explorer/virtualTime.ts"

/** On a machine where a fiber may be asked to yield between any two of its steps. */
const onBusyMachine = <A>(
  seed: number,
  options: Simulation.Options,
  story: Effect.Effect<A, never, Simulation.World>
): A => {
  const time = new VirtualTime(new Chance(seed, 0), { stall: 0.2, shuffle: true, yields: 0.2, earlyTimers: true })
  const exit = time.run(
    Effect.andThen(Simulation.connected, story).pipe(
      Effect.provide(Layer.provideMerge(Simulation.layer(options), Logger.layer([]))),
      Random.withSeed(String(seed))
    )
  )
  if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
  assert.deepStrictEqual(time.left, { fibers: 0, sleepers: 0, tasks: 0 })
  return exit.value
}

describe("On a machine that interrupts everywhere", () => {
  it("a gateway that leaves at any step of its stream leaves nothing behind", () => {
    for (let seed = 0; seed < 20; seed++) {
      const left = onBusyMachine(
        seed,
        { worker: { answer: Answer.tokens({ every: 1 }) } },
        Effect.gen(function*() {
          const proxy = yield* InferenceProxy
          for (let n = 0; n < 40; n++) {
            yield* Effect.scoped(Effect.gen(function*() {
              yield* ScriptedGateway.open({ vanishAfter: 1 + n % 4 })
              yield* ScriptedGateway.open({ cancelAfter: 1 })
              yield* Effect.sleep(n % 5)
            }))
          }
          yield* Effect.sleep("1 second")
          const { sidecar_active_connections: active } = yield* (yield* Metrics).figures
          const worker = yield* ScriptedWorker.ScriptedWorker
          return {
            active,
            inFlight: proxy.inFlight(),
            atWorker: worker.streams().filter(({ end }) => end === undefined).length
          }
        })
      )
      assert.deepStrictEqual(left, { active: 0, inFlight: 0, atWorker: 0 }, `seed ${seed}`)
    }
  })

  it("gateways that leave while their worker dies leave nothing behind, and the drain ends", () => {
    for (let seed = 0; seed < 20; seed++) {
      const inFlight = onBusyMachine(
        seed,
        { worker: { answer: Answer.silence }, config: { reload: { hold_on_disconnect_secs: 30 } } },
        Effect.scoped(Effect.gen(function*() {
          const proxy = yield* InferenceProxy
          const worker = yield* ScriptedWorker.ScriptedWorker
          yield* ScriptedGateway.openMany(60, (n) => ({ cancelAfter: 1 + n % 7 }))
          yield* worker.perform(Timeline.Action.Die())
          yield* ScriptedGateway.openMany(20, (n) => ({ vanishAfter: 1 + n % 7 }))
          yield* worker.perform(Timeline.Action.ComeBack())
          yield* proxy.drain
          yield* Effect.timeoutOption(proxy.awaitIdle, "1 minute")
          return proxy.inFlight()
        }))
      )
      assert.strictEqual(inFlight, 0, `seed ${seed}`)
    }
  })

  it("whoever is refused for the number of streams finds that number in flight", () => {
    let refused = 0
    for (let seed = 0; seed < 20; seed++) {
      const wrong = onBusyMachine(
        seed,
        { worker: { answer: Answer.tokens({ every: 1 }) }, config: { server: { max_concurrent_streams: 3 } } },
        Effect.scoped(Effect.gen(function*() {
          const proxy = yield* InferenceProxy
          const seen: Array<number> = []
          const open = (n: number) =>
            Effect.forkScoped(Effect.andThen(
              Effect.sleep(n % 3),
              ScriptedGateway.openOn((served) => {
                const end = served.end.bind(served)
                served.end = (status, delivery) => {
                  if (status.metadata["cy-reason"] === "too_many_streams") seen.push(proxy.inFlight())
                  end(status, delivery)
                }
                return proxy.predict(served)
              })
            ))
          yield* Effect.forEach(Array.from({ length: 40 }, (_, n) => n), open, { discard: true })
          yield* Effect.sleep("1 second")
          refused += seen.length
          return seen.filter((inFlight) => inFlight < 3)
        }))
      )
      assert.deepStrictEqual(wrong, [], `seed ${seed}`)
    }
    assert.isAbove(refused, 100)
  })

  it("a drain that is over leaves no stream behind that has been let in", () => {
    for (let seed = 0; seed < 20; seed++) {
      const late = onBusyMachine(
        seed,
        { worker: { answer: Answer.tokens({ every: 1 }) } },
        Effect.gen(function*() {
          const proxy = yield* InferenceProxy
          const worker = yield* ScriptedWorker.ScriptedWorker
          let arrivedLate = 0
          for (let round = 0; round < 30; round++) {
            yield* Effect.scoped(Effect.gen(function*() {
              yield* Effect.forkScoped(ScriptedGateway.open(), { startImmediately: true })
              for (let turn = 0; turn < round % 4; turn++) yield* Effect.yieldNow
              yield* proxy.drain
              yield* proxy.awaitIdle
              const before = worker.streams().length
              yield* Effect.sleep("1 second")
              arrivedLate += worker.streams().length - before
            }))
            yield* proxy.undrain
          }
          return arrivedLate
        })
      )
      assert.strictEqual(late, 0, `seed ${seed}`)
    }
  })
})
