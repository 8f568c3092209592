/**
 * Effect's own AI interface over the worker. Beside a worker (`npm run -s sidecar -- worker`):
 *
 *     npx node examples/language-model.ts
 *
 * In a project of yours the imports are `from "cy-llm-sidecar"` and `from "cy-llm-sidecar/ai"`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Stream } from "effect"
import { LanguageModel } from "effect/ai"
import { WorkerLanguageModel } from "../src/ai.ts"
import { Sidecar, WorkerConnection } from "../src/index.ts"

const sidecar = Sidecar.make({
  settings: { server: { worker_uds: process.env.SIDECAR_WORKER_UDS ?? "unix:///tmp/cy_worker.sock" } },
  journal: "memory"
})

const model = WorkerLanguageModel.layer({
  model: "qwen-7b",
  tenant: "acme",
  generation: { maxNewTokens: 20 },
  // The chat template is the model's; this is that of Qwen.
  render: (prompt) =>
    prompt.content.map((message) => `<|im_start|>${message.role}\n${WorkerLanguageModel.textOf(message)}<|im_end|>\n`)
      .join("") + "<|im_start|>assistant\n"
})

const program = Effect.gen(function*() {
  const worker = yield* WorkerConnection
  yield* worker.awaitConnected
  yield* LanguageModel.streamText({ prompt: "Tell me a story" }).pipe(
    Stream.runForEach((part) => part.type === "text-delta" ? Console.log(part.delta) : Effect.void)
  )
  const { text, usage } = yield* LanguageModel.generateText({ prompt: "And its end" })
  yield* Console.log(`${text} (${usage.outputTokens.total} tokens)`)
})

NodeRuntime.runMain(program.pipe(Effect.provide(Layer.provideMerge(model, sidecar))))
