import { it as simulated } from "@effect/vitest"
import { Effect, Random } from "effect"
import { describe, expect, it } from "vitest"
import { Simulation } from "../../../src/testing.ts"
import { openLab } from "../lab.ts"
import { type WireName, wires } from "../sidecar.ts"
import { realStage } from "./realStage.ts"
import { simulatedStage } from "./simulatedStage.ts"
import { environmentOf, type Twin } from "./stage.ts"

const forReal = async (told: Twin, wire: WireName): Promise<void> => {
  const lab = await openLab({
    wire,
    ...(told.engine === undefined ? {} : { engine: told.engine }),
    env: { SIDECAR_LOG_LEVEL: "debug", ...environmentOf(told.settings ?? {}) }
  })
  const pid = lab.sidecar.pid
  const { account, stage, things } = realStage(lab)
  await told.tell(stage)
  const came = await account(Object.keys(told.comesOut.figures))
  const otherWords = wire === "grpc-js" ? told.onGrpcJs ?? {} : {}
  expect({ ...came, gateways: came.gateways.map((words) => otherWords[words] ?? words) }).toEqual(told.comesOut)
  expect(lab.sidecar.pid).toBe(pid)
  expect(lab.sidecar.isRunning).toBe(true)
  await told.really?.(things)
}

const onVirtualTime = (told: Twin): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* Effect.andThen(Simulation.connected, Effect.yieldNow)
    const { account, stage } = yield* simulatedStage
    yield* Effect.promise(() => told.tell(stage))
    const came = yield* Effect.promise(() => account(Object.keys(told.comesOut.figures)))
    expect(came).toEqual(told.comesOut)
  }).pipe(
    Effect.scoped,
    Effect.provide(Simulation.layer({ config: told.settings })),
    Random.withSeed(told.name)
  )

/** Tells the story on every stage; the same must come of it. */
export const twin = (told: Twin): void => {
  describe(told.name, () => {
    it.each(wires)("with real processes on the %s wire", (wire) => forReal(told, wire))
    simulated.effect("in the simulation", () => onVirtualTime(told))
  })
}
