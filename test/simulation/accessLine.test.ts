import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Random, References } from "effect"
import { InferenceProxy } from "../../src/index.ts"
import { Answer, Simulation } from "../../src/testing.ts"
import { answers, gateway, pass, records, worker } from "./story.ts"

interface Line {
  readonly level: string
  readonly annotations: Readonly<Record<string, unknown>>
}

/** A sidecar whose lines about the ends of streams are kept, at every level. */
const listening = (options: Simulation.Options) => {
  const lines: Array<Line> = []
  const logger = Logger.make<unknown, void>(({ fiber, logLevel, message }) => {
    if (String(message) !== "stream ended") return
    lines.push({ level: logLevel, annotations: fiber.getRef(References.CurrentLogAnnotations) })
  })
  const layer = Simulation.layer(options).pipe(
    Layer.provideMerge(Layer.merge(Logger.layer([logger]), Layer.succeed(References.MinimumLogLevel, "Debug")))
  )
  return { lines, layer }
}

const told = ({ annotations, level }: Line) => [level, annotations["outcome"], annotations["tokens"]]

describe("The line of a stream that has ended", () => {
  const options: Simulation.Options = {
    worker: { answer: Answer.tokens({ tokens: 3 }) },
    config: { server: { stream_idle_timeout_secs: 5, first_token_timeout_secs: 30 } }
  }

  it.effect("says who it was for, how it ended and what it delivered, once for each", () => {
    const { layer, lines } = listening(options)
    return Effect.gen(function*() {
      yield* Simulation.connected
      yield* gateway({ request: { modelId: "qwen-7b", traceId: "t-1" } })
      yield* pass("1 second")
      assert.lengthOf(lines, 1)
      assert.deepStrictEqual(lines[0]?.annotations, {
        outcome: "completed",
        grpc_status: 0,
        tokens: 3,
        model_id: "qwen-7b",
        trace_id: "t-1",
        record_id: (yield* records)[0]?.record_id
      })
    }).pipe(Effect.scoped, Effect.provide(layer), Random.withSeed("access line"))
  })

  it.effect("is a debug line for an ordinary end, and an info line for one that an operator should see", () => {
    const { layer, lines } = listening(options)
    return Effect.gen(function*() {
      yield* Simulation.connected
      yield* gateway()
      yield* pass("1 second")
      yield* answers(Answer.tokens({ tokens: 10, every: "1 second" }))
      yield* gateway({ cancelAfter: "1500 millis" })
      yield* pass("3 seconds")
      yield* answers(Answer.tokens({ tokens: 2, endOfStream: false }))
      yield* gateway()
      yield* pass("1 second")
      yield* answers(Answer.status(3, "no such adapter"))
      yield* gateway()
      yield* pass("1 second")
      yield* answers((side) => Effect.andThen(Answer.tokens({ tokens: 1, endOfStream: false })(side), Effect.never))
      yield* gateway()
      yield* pass("1 minute")
      yield* answers(Answer.tokens({ tokens: 100, every: "1 second" }))
      yield* gateway()
      yield* pass("2500 millis")
      yield* worker("die")
      yield* pass("1 second")
      assert.deepStrictEqual(lines.map(told), [
        ["Debug", "completed", 3],
        ["Debug", "cancelled", 2],
        ["Info", "truncated", 2],
        ["Info", "failed", 0],
        ["Info", "timeout", 1],
        ["Info", "worker_lost", 3]
      ])
    }).pipe(Effect.scoped, Effect.provide(layer), Random.withSeed("levels"))
  })

  it.effect("is written for a stream that the drain limit ended, too", () => {
    const { layer, lines } = listening({ worker: { answer: Answer.tokens({ tokens: 100, every: "1 second" }) } })
    return Effect.gen(function*() {
      yield* Simulation.connected
      yield* gateway()
      yield* pass("2500 millis")
      const proxy = yield* InferenceProxy
      yield* proxy.drain
      yield* proxy.abortAll
      yield* pass("1 second")
      assert.deepStrictEqual(lines.map(told), [["Info", "drained", 3]])
    }).pipe(Effect.scoped, Effect.provide(layer), Random.withSeed("drained"))
  })
})
