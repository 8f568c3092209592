import { Effect, Layer } from "effect"
import * as Drain from "../layers/Drain.ts"
import * as Http2Server from "../layers/Http2Server.ts"
import * as Sidecar from "../layers/Sidecar.ts"
import * as SidecarRoutes from "../layers/SidecarRoutes.ts"
import { type BindError, GrpcServer } from "../services/GrpcServer.ts"
import type { SidecarConfig } from "../services/SidecarConfig.ts"
import { WorkerConnection } from "../services/WorkerConnection.ts"
import type { Recorder } from "./Recorder.ts"
import * as ScriptedWorker from "./ScriptedWorker.ts"
import * as TestConfig from "./TestConfig.ts"

/** A worker to play and settings to try it with. */
export interface Options {
  readonly worker?: ScriptedWorker.Options | undefined
  readonly config?: TestConfig.Overrides | undefined
}

/** What a simulation is made of: the real core of the sidecar, the worker's controls and the trace. */
export type World = Sidecar.Core | ScriptedWorker.ScriptedWorker | Recorder | SidecarConfig

const world = (options: Options, config: TestConfig.Overrides): Layer.Layer<World> =>
  Layer.fresh(Sidecar.layerCore).pipe(
    Layer.provideMerge(ScriptedWorker.layer(options.worker)),
    Layer.provideMerge(TestConfig.layer(config))
  )

/**
 * The real sidecar, without its wire, over a scripted worker: for scripted gateways and virtual time. Build one for each
 * test; it holds that test's history.
 */
export const layer = (options: Options = {}): Layer.Layer<World> => world(options, options.config ?? {})

/**
 * The real sidecar on a real port over a scripted worker: for a gateway that is a program of its own, in real time. It
 * listens on `[server] bind_addr`, by default a free port of 127.0.0.1 ({@link addresses} tells which). Closing its scope
 * drains it.
 */
export const layerServing = (options: Options = {}): Layer.Layer<World | GrpcServer, BindError> =>
  Drain.layer.pipe(
    Layer.provideMerge(Layer.fresh(Http2Server.layer)),
    Layer.provide(SidecarRoutes.layer),
    Layer.provideMerge(
      world(options, {
        ...options.config,
        server: { bind_addr: "127.0.0.1:0", drain_timeout_secs: 0, ...options.config?.server }
      })
    )
  )

/** Waits until the sidecar is connected to the worker: before that, streams are refused. */
export const connected: Effect.Effect<void, never, WorkerConnection> = Effect.flatMap(
  WorkerConnection,
  (connection) => connection.awaitConnected
)

/** Where {@link layerServing} listens, as `host:port` or `unix:///path`. */
export const addresses: Effect.Effect<ReadonlyArray<string>, never, GrpcServer> = GrpcServer.useSync((server) =>
  server.addresses
)
