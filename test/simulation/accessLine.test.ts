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

const told = ({ annotations, level }: Line) => [
  level,
  annotations["outcome"],
  annotations["reason"],
  annotations["grpc_status"],
  annotations["tokens"]
]

describe("The line of a stream that has ended", () => {
  const server = { stream_idle_timeout_secs: 5, first_token_timeout_secs: 30, slow_reader_timeout_secs: 10 }
  const options = (observability: object = {}): Simulation.Options => ({
    worker: { answer: Answer.tokens({ tokens: 3 }) },
    config: { server, observability }
  })

  it.effect("says who it was for, how it ended and what it delivered, once for each", () => {
    const { layer, lines } = listening(options())
    return Effect.gen(function*() {
      yield* Simulation.connected
      yield* gateway({ request: { modelId: "qwen-7b", traceId: "t-1" } })
      yield* pass("1 second")
      assert.lengthOf(lines, 1)
      const record = (yield* records)[0]
      assert.deepStrictEqual(lines[0]?.annotations, {
        outcome: "completed",
        reason: null,
        grpc_status: 0,
        model_id: "qwen-7b",
        tenant: record?.tenant,
        tokens: 3,
        bytes: record?.bytes,
        ttft_ms: record?.ttft_ms,
        held_ms: 0,
        queued_ms: 0,
        duration_ms: 40,
        replays: 0,
        peer: "127.0.0.1:40000",
        trace_id: "t-1",
        record_id: record?.record_id
      })
    }).pipe(Effect.scoped, Effect.provide(layer), Random.withSeed("access line"))
  })

  /** A stream of each outcome. */
  const everyOutcome = Effect.gen(function*() {
    yield* Simulation.connected
    yield* gateway()
    yield* pass("1 second")
    yield* answers(Answer.tokens({ tokens: 10, every: "1 second" }))
    yield* gateway({ cancelAfter: "1500 millis" })
    yield* pass("3 seconds")
    yield* gateway({ timeoutMillis: 1500 })
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
    yield* answers(Answer.tokens({ tokens: 10_000, batch: 100 }))
    yield* gateway({ reader: { stallAfter: 2 }, windowBytes: 500 })
    yield* pass("12 seconds")
    yield* answers(Answer.tokens({ tokens: 100, every: "1 second" }))
    yield* gateway()
    yield* pass("2500 millis")
    yield* worker("die")
    yield* pass("100 millis")
    yield* gateway()
    yield* worker("come back")
    yield* pass("10 seconds")
    yield* gateway()
    yield* pass("2500 millis")
    const proxy = yield* InferenceProxy
    yield* proxy.drain
    yield* proxy.abortAll
    yield* pass("1 second")
    yield* gateway()
    yield* pass("1 second")
  })

  const all = [
    ["completed", null, 0, 3],
    ["cancelled", "cancelled", 1, 2],
    ["deadline", "deadline", 4, 2],
    ["truncated", "truncated", 15, 2],
    ["failed", null, 3, 0],
    ["timeout", "stream_idle", 14, 1],
    ["slow_reader", "slow_reader", 1, 100],
    ["worker_lost", "worker_lost", 14, 3],
    ["refused", "worker_disconnected", 14, 0],
    ["drained", "draining", 14, 3],
    ["refused", "draining", 14, 0]
  ] as const
  const ordinary = new Set<string>(["completed", "cancelled", "refused"])

  it.effect("is there for every outcome, with the reason that the gateway got", () => {
    const { layer, lines } = listening(options())
    return Effect.andThen(
      everyOutcome,
      Effect.sync(() => assert.deepStrictEqual(lines.map(told), all.map((line) => ["Info", ...line])))
    ).pipe(Effect.scoped, Effect.provide(layer), Random.withSeed("outcomes"))
  })

  it.effect("has the level of access_log_level when the end is ordinary, and is an info line when not", () => {
    const { layer, lines } = listening(options({ access_log_level: "debug" }))
    return Effect.andThen(
      everyOutcome,
      Effect.sync(() =>
        assert.deepStrictEqual(
          lines.map(told),
          all.map((line) => [ordinary.has(line[0]) ? "Debug" : "Info", ...line])
        )
      )
    ).pipe(Effect.scoped, Effect.provide(layer), Random.withSeed("outcomes"))
  })

  it.effect("is left out for ordinary ends by access_log_sample, and altogether by \"off\"", () => {
    const rare = listening(options({ access_log_sample: 0 }))
    const never = listening(options({ access_log_level: "off" }))
    return Effect.gen(function*() {
      yield* everyOutcome.pipe(Effect.scoped, Effect.provide(rare.layer), Random.withSeed("outcomes"))
      assert.deepStrictEqual(
        rare.lines.map(told),
        all.filter(([outcome]) => !ordinary.has(outcome)).map((line) => [
          "Info",
          ...line
        ])
      )
      yield* everyOutcome.pipe(Effect.scoped, Effect.provide(never.layer), Random.withSeed("outcomes"))
      assert.deepStrictEqual(never.lines, [])
    })
  })
})
