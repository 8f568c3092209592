/**
 * Not a proxy: the meter and its journal alone, fed by timers as streams would. All delay of this event loop is theirs.
 *
 * `node journal.ts OPEN ENDS_PER_SECOND LIFE_MILLIS`: so many streams of a token a second that stay open, so many short
 * ones that end each second.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect, Fiber, Layer } from "effect"
import * as S from "../src/index.ts"

const [open = 0, ends = 0, life = 0] = process.argv.slice(2).map(Number)

const identity = {
  traceId: "0196f1d2-7c3e-7b64-9a41-5f2b8c1d0e77",
  modelId: "bench-model",
  adapter: "",
  tenant: "tenant",
  playerId: "player",
  promptChars: 60,
  priority: 0
}

const feed = Effect.gen(function*() {
  const meter = yield* S.UsageMeter
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const track = Fiber.runIn(yield* Effect.scope)
  const begin = (): S.UsageTally => {
    const tally = meter.open()
    tally.identity = identity
    tally.chunks += 1
    tally.bytes += 59
    return tally
  }
  const running = Array.from({ length: open }, begin)
  setInterval(() => {
    for (const tally of running) tally.bytes += 59
  }, 100)
  const startedAt = performance.now()
  let begun = 0
  setInterval(() => {
    for (; begun < ((performance.now() - startedAt) / 1000) * ends; begun++) {
      const tally = begin()
      setTimeout(() => track(run(meter.close(tally, { outcome: "completed", grpcStatus: 0 }))), life)
    }
  }, 1)
  return yield* Effect.never
})

NodeRuntime.runMain(
  Effect.scoped(feed).pipe(
    Effect.provide(S.JournalMeter.layer.pipe(
      Layer.provide(S.SqliteJournal.layer),
      Layer.provide(S.PromMetrics.layer),
      Layer.provideMerge(S.TomlConfig.layer)
    ))
  )
)
