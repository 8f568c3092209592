/**
 * Two sidecars in one process, each with a worker of its own; they share nothing. Beside two workers:
 *
 *     npm run -s sidecar -- worker --socket unix:///tmp/one.sock
 *     npm run -s sidecar -- worker --socket unix:///tmp/two.sock
 *     npx node examples/two-sidecars.ts unix:///tmp/one.sock unix:///tmp/two.sock
 *
 * In a project of yours the import is `from "cy-llm-sidecar"`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { GrpcServer, LlmClient, Sidecar, WorkerConnection } from "../src/index.ts"

const [one = "unix:///tmp/one.sock", two = "unix:///tmp/two.sock"] = process.argv.slice(2)

/** Each call of `make` is a sidecar; here with a port for gateways, which has to be asked for. */
const sidecar = (worker_uds: string) =>
  Sidecar.make({
    settings: { server: { worker_uds, bind_addr: "127.0.0.1:0" } },
    journal: "memory",
    ports: { gateways: true }
  })

const ask = (name: string) =>
  Effect.gen(function*() {
    const { addresses } = yield* GrpcServer
    const worker = yield* WorkerConnection
    yield* worker.awaitConnected
    const tokens = yield* Stream.runCollect(LlmClient.tokens({ model: name, prompt: "hello" }))
    yield* Console.log(`${name} on ${addresses.join(", ")}: ${tokens.length} tokens`)
  })

NodeRuntime.runMain(Effect.all([
  Effect.provide(ask("one"), sidecar(one)),
  Effect.provide(ask("two"), sidecar(two))
], { concurrency: "unbounded", discard: true }))
