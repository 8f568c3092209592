/**
 * A stop word and a rate limit for each tenant, on every stream: the gateways' and the application's own. Beside a worker:
 *
 *     npx node examples/hooks.ts
 *
 * In a project of yours the import is `from "cy-llm-sidecar"`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Clock, Console, Effect, Layer, Stream } from "effect"
import { LlmClient, Sidecar, StreamHook, StreamRefusal, WorkerConnection } from "../src/index.ts"

/** The text ends before the word; the worker is told to stop, and what was delivered is billed. */
const stopWord: StreamHook.Hook = {
  name: "stop word",
  replies: (tokens) => tokens.pipe(Stream.takeWhile((token) => !token.includes("model")))
}

/** One stream a second for each tenant; a refused one has no usage record. */
const lastOf = new Map<string, number>()
const rateLimit: StreamHook.Hook = {
  name: "rate limit",
  admit: Effect.fnUntraced(function*({ tenant = "" }) {
    const now = yield* Clock.currentTimeMillis
    const retryAfterMillis = (lastOf.get(tenant) ?? -Infinity) + 1000 - now
    if (retryAfterMillis > 0) {
      return yield* new StreamRefusal({ reason: "tenant_rate", message: "One stream a second", retryAfterMillis })
    }
    lastOf.set(tenant, now)
  })
}

const sidecar = Sidecar.make({
  settings: { server: { worker_uds: process.env.SIDECAR_WORKER_UDS ?? "unix:///tmp/cy_worker.sock" } },
  journal: "memory"
}).pipe(Layer.provide(StreamHook.layer(rateLimit, stopWord)))

const program = Effect.gen(function*() {
  const worker = yield* WorkerConnection
  yield* worker.awaitConnected
  const ask = Stream.mkString(LlmClient.tokens({ model: "qwen-7b", prompt: "hello", tenant: "acme" }))
  yield* Console.log(`until the stop word: ${JSON.stringify(yield* ask)}`)
  const again = yield* Effect.result(Effect.all([ask, ask]))
  yield* Console.log(again._tag === "Failure" ? `refused: ${again.failure.reason}` : "admitted")
})

NodeRuntime.runMain(Effect.provide(program, sidecar))
