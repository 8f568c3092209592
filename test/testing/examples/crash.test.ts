import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Answer, ScriptedGateway, ScriptedWorker, Simulation, Timeline } from "../../../src/testing.ts"

it.effect("tells the gateway how much of a broken answer it has", () =>
  Effect.gen(function*() {
    yield* Simulation.connected
    const worker = yield* ScriptedWorker.ScriptedWorker
    yield* worker.perform(Timeline.Action.BreakAfter({ frames: 7 }))
    const call = yield* ScriptedGateway.open()
    yield* TestClock.adjust("5 seconds")

    const reply = yield* call.handled
    assert.strictEqual(reply.tokens.length, 7)
    assert.strictEqual(reply.status?.code, 14)
    assert.strictEqual(reply.status?.metadata["cy-reason"], "worker_lost")
    assert.strictEqual(reply.status?.metadata["cy-chunks-delivered"], "7")
    assert.strictEqual(reply.status?.metadata["cy-safe-to-retry"], "false")
  }).pipe(
    Effect.scoped,
    Effect.provide(Simulation.layer({ worker: { answer: Answer.tokens({ tokens: 50 }) } }))
  ))
