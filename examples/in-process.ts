/**
 * A model in process: no port, no socket but the worker's. Each stream is held, queued, sent again and metered like a
 * gateway's. Beside a worker (`npm run -s sidecar -- worker`):
 *
 *     npx node examples/in-process.ts
 *
 * In a project of yours the import is `from "cy-llm-sidecar"`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { LlmClient, Sidecar, WorkerConnection } from "../src/index.ts"

const sidecar = Sidecar.make({
  settings: { server: { worker_uds: process.env.SIDECAR_WORKER_UDS ?? "unix:///tmp/cy_worker.sock" } },
  journal: "memory"
})

const request = { model: "qwen-7b", prompt: "你好", tenant: "acme", generation: { maxNewTokens: 100 } }

const program = Effect.gen(function*() {
  const worker = yield* WorkerConnection
  yield* worker.awaitConnected
  // Five tokens are enough: the rest is neither generated nor billed.
  const tokens = yield* LlmClient.tokens(request, { timeout: "10 seconds" }).pipe(Stream.take(5), Stream.runCollect)
  yield* Console.log(`five tokens: ${JSON.stringify(tokens.join(""))}`)
  const models = yield* LlmClient.control("list_models")
  yield* Console.log("control:", models)
}).pipe(
  Effect.catchTag(
    "PredictError",
    ({ code, message, reason, retryAfterMillis }) =>
      Console.error(`refused (${code} ${reason}): ${message}; again in ${retryAfterMillis ?? "?"} ms`)
  )
)

NodeRuntime.runMain(Effect.provide(program, sidecar))
