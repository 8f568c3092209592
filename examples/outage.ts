/**
 * An outage of a minute, replayed in milliseconds: the real sidecar, a scripted worker, gateways that open a stream every
 * five seconds, a clock that is moved by hand and a seed for chance. The same output each time.
 *
 *     npx node examples/outage.ts
 *
 * In a project of yours the import is `from "cy-llm-sidecar/testing"`.
 */
import { Console, Effect, Layer, Random } from "effect"
import { TestClock } from "effect/testing"
import { Answer, ScriptedGateway, Simulation } from "../src/testing.ts"

const world = Simulation.layer({
  worker: {
    answer: Answer.tokens({ tokens: 30, every: "100 millis" }),
    timeline: `
      at 12s: reload for 10s
      at 36s: die
      at 47s: come back
    `
  },
  config: { reload: { hold_timeout_secs: 20 } }
})

const describe = (reply: ScriptedGateway.GatewayReply): string => {
  const at = (millis: number | undefined) => `${((millis ?? 0) / 1000).toFixed(1)}s`.padStart(6)
  const reason = reply.status?.metadata["cy-reason"]
  const retry = reply.status?.metadata["grpc-retry-pushback-ms"]
  return [
    `opened ${at(reply.startedAt)}`,
    `ended ${at(reply.endedAt)}`,
    `${reply.tokens.length} tokens`.padStart(9),
    reply.status?.code === 0 ? "OK" : reply.status?.message,
    reason === undefined ? "" : `(cy-reason: ${reason}${retry === undefined ? "" : `, retry in ${retry} ms`})`
  ].join("  ")
}

const story = Effect.gen(function*() {
  const calls: Array<ScriptedGateway.GatewayCall> = []
  for (let opened = 0; opened < 12; opened++) {
    yield* TestClock.adjust("5 seconds")
    calls.push(yield* ScriptedGateway.open({ request: { modelId: "qwen-7b", prompt: "hello" } }))
  }
  yield* TestClock.adjust("1 minute")
  for (const call of calls) yield* Console.log(describe(yield* call.handled))
})

const program: Effect.Effect<void> = story.pipe(
  Effect.scoped,
  Effect.provide(Layer.provideMerge(world, TestClock.layer())),
  // Retry hints are spread by chance; a seed makes that repeatable, too.
  Random.withSeed("outage")
)

await Effect.runPromise(program)
