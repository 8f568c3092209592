/**
 * The sidecar inside another Effect application. Run it beside a worker, started in any order:
 *
 *     npx node examples/embed.ts
 *     npm run -s sidecar -- worker
 *
 * In a project of yours the import is `from "cy-llm-sidecar"`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Duration, Effect, Layer, Schedule, Stream } from "effect"
import { GrpcServer, InferenceProxy, OpsHttp, Sidecar, TomlConfig, WorkerConnection } from "../src/index.ts"

/** Settings from code: the same names, defaults and checks as in `sidecar.toml`. Or `TomlConfig.layer` for the file. */
const settings = TomlConfig.layerFrom({
  server: {
    bind_addr: ["127.0.0.1:0", "unix:///tmp/embedded_sidecar.sock"],
    worker_uds: process.env.SIDECAR_WORKER_UDS ?? "unix:///tmp/cy_worker.sock",
    drain_timeout_secs: 5
  },
  metering: { journal_path: "/tmp/embedded_sidecar/usage.sqlite" },
  observability: { metrics_host: "127.0.0.1", metrics_port: 0 }
})

/** Any part of the application asks for the services it needs; here for the status of the worker, change by change. */
const tellStatus = Effect.gen(function*() {
  const worker = yield* WorkerConnection
  yield* worker.changes.pipe(
    Stream.map((state) =>
      state._tag === "Disconnected" ? `Disconnected: ${state.detail}. ${state.remedy}` : state._tag
    ),
    Stream.changes,
    Stream.runForEach((line) => Console.log(`worker: ${line}`))
  )
})

const tellLoad = Effect.gen(function*() {
  const proxy = yield* InferenceProxy
  let before = 0
  const look = Effect.suspend(() => {
    const now = proxy.inFlight()
    const changed = now !== before
    before = now
    return changed ? Console.log(`streams in flight: ${now}`) : Effect.void
  })
  yield* Effect.repeat(look, Schedule.spaced(Duration.millis(100)))
})

const application = Effect.gen(function*() {
  const grpc = yield* GrpcServer
  const ops = yield* OpsHttp
  yield* Console.log(`gRPC on ${grpc.addresses.join(" and ")}, http://${ops.address}/metrics`)
  return yield* Effect.all([tellStatus, tellLoad], { concurrency: "unbounded", discard: true })
})

// Ctrl-C closes the scope of the layer: no new streams, running ones finish, then everything is released.
NodeRuntime.runMain(application.pipe(Effect.provide(Sidecar.layer.pipe(Layer.provide(settings)))))
