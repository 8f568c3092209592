import { it as simulated } from "@effect/vitest"
import { Effect, Layer, Logger, Random } from "effect"
import { TestClock } from "effect/testing"
import { describe, expect, it } from "vitest"
import { Metrics, WorkerConnection } from "../../src/index.ts"
import { Answer, ScriptedGateway, ScriptedWorker, Simulation, Timeline } from "../../src/testing.ts"
import { Program } from "../cli/program.ts"
import { trailer } from "../support/gateway.ts"
import { emptyLab } from "../support/lab.ts"
import { request } from "../support/protobuf.ts"
import { type WireName, wires } from "../support/sidecar.ts"
import { StatusHistory } from "../support/twins/account.ts"
import { messageOf, statusOf } from "../support/twins/realStage.ts"
import {
  comesOut,
  endInWords,
  hintsIn,
  type Outcome,
  probesInVain,
  settings,
  threads
} from "../support/twins/saturation.ts"
import { environmentOf } from "../support/twins/stage.ts"

const SATURATED = "sidecar_worker_saturated_checks_total"

const forReal = async (wire: WireName): Promise<Outcome> => {
  const lab = emptyLab({ wire })
  // It has nothing to say but tokens, for longer than any test.
  const flags = ["--threads", String(threads), "--tokens-per-second", "100", "--tokens", "200000"]
  const worker = new Program(["worker", "--socket", `unix://${lab.socketPath}`, ...flags])
  await worker.line("stand-in worker listening")
  const sidecar = await lab.startSidecar({ env: environmentOf(settings) })
  await sidecar.log("connected to worker")
  const gateway = lab.rawGateway()
  const calls = Array.from({ length: threads }, () => gateway.call({ requests: [request()] }))
  await Promise.all(calls.map((call) => call.messages.count(1, "tokens")))
  await sidecar.figures(SATURATED, (figures) => figures.get(SATURATED) >= probesInVain)
  const status = statusOf(sidecar.logs.all).words
  worker.child.kill("SIGKILL")
  const ends = await Promise.all(calls.map(async (call) => {
    const end = await call.status
    return endInWords(end.code, (key) => trailer(end, key), call.messages.all.length)
  }))
  return { status, hints: hintsIn(sidecar.logs.all.map(messageOf)), ends }
}

const onVirtualTime = Effect.gen(function*() {
  const lines: Array<string> = []
  const log = Logger.layer([Logger.make(({ message }) => {
    lines.push(Array.isArray(message) ? message.join(" ") : String(message))
  })])
  const answer = Answer.tokens({ tokens: 200_000, every: 10 })
  const world = Simulation.layer({ config: settings, worker: { threads, answer } })

  return yield* Effect.gen(function*() {
    yield* Effect.andThen(Simulation.connected, Effect.yieldNow)
    const worker = yield* ScriptedWorker.ScriptedWorker
    const connection = yield* WorkerConnection
    const metrics = yield* Metrics
    const history = new StatusHistory()
    history.push("Connected")
    connection.onChange((state) => {
      if (state._tag !== "Connecting") history.push(state._tag, state._tag === "Disconnected" ? state.reason : "")
    })
    const calls = yield* ScriptedGateway.openMany(threads)
    for (let steps = 0; ((yield* metrics.figures)[SATURATED] ?? 0) < probesInVain; steps++) {
      if (steps > 1000) return yield* Effect.die(new Error("the worker was never saturated"))
      yield* TestClock.adjust(100)
    }
    const status = [...history.words]
    yield* worker.perform(Timeline.Action.Die())
    yield* TestClock.adjust(1000)
    const ends = calls.map(({ seen }) =>
      endInWords(seen.status?.code ?? -1, (key) => String(seen.status?.metadata[key]), seen.tokens.length)
    )
    return { status, hints: hintsIn(lines), ends }
  }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(world, log)), Random.withSeed("saturated"))
})

describe("a worker whose threads are all busy streaming is never called disconnected while frames flow", () => {
  it.each(wires)("with real processes on the %s wire", async (wire) => {
    expect(await forReal(wire)).toEqual(comesOut)
  })

  simulated.effect("in the simulation", () => Effect.map(onVirtualTime, (came) => expect(came).toEqual(comesOut)))
})
