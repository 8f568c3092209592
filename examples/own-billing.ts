/**
 * The usage records in the application's own hands, and an audit log of every end. Beside a worker:
 *
 *     npx node examples/own-billing.ts
 *
 * In a project of yours the import is `from "cy-llm-sidecar"`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Stream } from "effect"
import { BillingSink, BillingVerdict, LlmClient, Sidecar, WorkerConnection } from "../src/index.ts"

/** What is provided is what runs: whatever `[metering] billing_endpoint` says, the records come here. */
const billing = Layer.succeed(BillingSink, {
  send: ({ batchId, records }) =>
    Console.log(`batch ${batchId}: ${records.map((one) => `${one.tenant} ${one.tokens_generated}`).join(", ")}`).pipe(
      Effect.as(BillingVerdict.Accepted({ duplicate: false }))
    )
})

const sidecar = Sidecar.make({
  settings: {
    server: { worker_uds: process.env.SIDECAR_WORKER_UDS ?? "unix:///tmp/cy_worker.sock" },
    metering: { batch_interval_secs: 1 }
  },
  journal: "memory"
}).pipe(Layer.provide(billing))

const audit = Sidecar.events.pipe(
  Stream.runForEach((event) =>
    event._tag === "StreamEnded"
      ? Console.log(`audit: ${event.record.tenant} ${event.record.outcome} ${event.record.tokens_generated}`)
      : event._tag === "Lost"
      ? Console.error(`audit: ${event.count} events lost`)
      : Effect.void
  )
)

const program = Effect.gen(function*() {
  yield* Effect.forkScoped(audit, { startImmediately: true })
  const worker = yield* WorkerConnection
  yield* worker.awaitConnected
  const ask = (tenant: string) => Stream.runDrain(LlmClient.tokens({ model: "qwen-7b", prompt: "hello", tenant }))
  yield* Effect.all([ask("acme"), ask("zenith")], { concurrency: "unbounded" })
})

NodeRuntime.runMain(program.pipe(Effect.scoped, Effect.provide(sidecar)))
