import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { Recorder, ScriptedGateway, ScriptedWorker, Simulation } from "../../../src/testing.ts"

it.effect("answers everybody who asks while the worker reloads", () =>
  Effect.gen(function*() {
    yield* Simulation.connected
    // The worker begins to reload at 10 s; the sidecar knows it from the next Health check.
    yield* TestClock.adjust("20 seconds")
    const calls = yield* ScriptedGateway.openMany(200, (n) => ({ request: { prompt: `question ${n}` } }))
    yield* TestClock.adjust("1 minute")

    for (const call of calls) {
      const reply = yield* call.handled
      assert.strictEqual(reply.status?.code, 0)
      assert.strictEqual(reply.tokens.length, 5)
      assert.isAtLeast(reply.replies[0]?.at ?? 0, 40_000)
    }
    const worker = yield* ScriptedWorker.ScriptedWorker
    assert.strictEqual(worker.streams().length, 200)
    assert.include((yield* Recorder.Recorder).format(), "10.000s timeline reload for 30s")
  }).pipe(
    Effect.scoped,
    Effect.provide(Simulation.layer({ worker: { timeline: "at 10s: reload for 30s" } }))
  ))
