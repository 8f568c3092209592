import { Effect, Layer } from "effect"
import type { BindError, GrpcServer } from "../services/GrpcServer.ts"
import type { InferenceProxy } from "../services/InferenceProxy.ts"
import type { LlmClient } from "../services/LlmClient.ts"
import type { MetricReadings } from "../services/MetricReadings.ts"
import type { Metrics } from "../services/Metrics.ts"
import type { OpsHttp as OpsHttpService } from "../services/OpsHttp.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import type { JournalError, UsageJournal } from "../services/UsageJournal.ts"
import type { UsageMeter } from "../services/UsageMeter.ts"
import type { WorkerChannel } from "../services/WorkerChannel.ts"
import type { WorkerConnection } from "../services/WorkerConnection.ts"
import * as Drain from "./Drain.ts"
import * as Http2Server from "./Http2Server.ts"
import * as Http2WorkerChannel from "./Http2WorkerChannel.ts"
import * as InProcessClient from "./InProcessClient.ts"
import * as JournalMeter from "./JournalMeter.ts"
import * as LimitLog from "./LimitLog.ts"
import * as MemoryJournal from "./MemoryJournal.ts"
import * as OpsHttp from "./OpsHttp.ts"
import * as PromMetrics from "./PromMetrics.ts"
import * as ReplayingProxy from "./ReplayingProxy.ts"
import * as SidecarRoutes from "./SidecarRoutes.ts"
import * as SqliteJournal from "./SqliteJournal.ts"
import * as SupervisedConnection from "./SupervisedConnection.ts"
import * as UnfinishedBudget from "./UnfinishedBudget.ts"
import * as WorkerToken from "./WorkerToken.ts"

/** What the core gives to an application that embeds it. */
export type Core = LlmClient | InferenceProxy | WorkerConnection | UsageMeter | UsageJournal | Metrics | MetricReadings

/** What stands on a journal: the path of a stream and all that it needs but the wire. */
const layerOver = <E>(journal: Layer.Layer<UsageJournal, E, SidecarConfig | Metrics>) =>
  // A model in process: on top, since it calls what gateways call.
  InProcessClient.layer.pipe(
    Layer.provide(SidecarRoutes.layer),
    Layer.provideMerge(ReplayingProxy.layer),
    // The path of a stream needs a status to decide on and a meter to count into.
    Layer.provideMerge(SupervisedConnection.layer),
    Layer.provideMerge(JournalMeter.layer),
    // Below the meter: what was counted outlives what counts it.
    Layer.provideMerge(journal),
    // All that a peer can exhaust tells here when it bites.
    Layer.provideMerge(LimitLog.layer),
    Layer.provideMerge(PromMetrics.layer)
  )

/**
 * The sidecar without its wire: give it a `WorkerChannel` (a real one, or the scripted one of the testing kit) and drive
 * `InferenceProxy`. Counts are kept in memory.
 */
export const layerCore: Layer.Layer<Core, never, WorkerChannel | SidecarConfig> = layerOver(MemoryJournal.layer)

/** Which implementation stands behind both seams to the wire. */
export type Wire = "http2" | "grpc-js"

/** Nobody bills: neither a reporter nor the HTTP client that it would need. */
const billing = Layer.unwrap(Effect.gen(function*() {
  if ((yield* SidecarConfig).metering.billing_endpoint === undefined) return Layer.empty
  const [reporter, sink] = yield* Effect.promise(() =>
    Promise.all([import("./BillingReporter.ts"), import("./HttpBillingSink.ts")])
  )
  return Layer.provide(reporter.layer, sink.layer)
}))

/** Without a collector there is no HTTP client either. */
const tracing = Layer.unwrap(Effect.gen(function*() {
  if ((yield* SidecarConfig).observability.otlp_endpoint === undefined) return Layer.empty
  return (yield* Effect.promise(() => import("./Tracing.ts"))).layer
}))

/** The memory for half messages. */
const budget = UnfinishedBudget.layer.pipe(Layer.provide(LimitLog.layer), Layer.provide(PromMetrics.layer))

/** The journal of the daemon; records leave it for the billing service once the last stream has been counted. */
const billedJournal = Layer.provideMerge(billing, SqliteJournal.layer)

/** Both sides of one wire. The reference wire is loaded only when it is asked for: grpc-js is large. */
const bothSides = (wire: Wire) =>
  wire === "http2"
    ? Effect.succeed({ channel: Http2WorkerChannel.layer, server: Http2Server.layer })
    : Effect.map(
      Effect.promise(() => Promise.all([import("./GrpcJsWorkerChannel.ts"), import("./GrpcJsServer.ts")])),
      ([channel, server]) => ({ channel: channel.layer, server: server.layer })
    )

/** The whole sidecar on one of its wires; closing the scope is the drain. */
export const layerOn = (
  wire: Wire
): Layer.Layer<Core | GrpcServer | OpsHttpService, BindError | JournalError, SidecarConfig> =>
  Layer.unwrap(Effect.map(bothSides(wire), ({ channel, server }) =>
    Drain.layer.pipe(
      // Above everything that a running stream needs, so that it closes first.
      Layer.provideMerge(server),
      Layer.provide(SidecarRoutes.layer),
      // The operators' port is open before the first gateway comes and until the last one has gone.
      Layer.provideMerge(OpsHttp.layer),
      Layer.provideMerge(layerOver(billedJournal)),
      // Around the path of a stream: what it did is told after it has ended.
      Layer.provide(tracing),
      Layer.provide(WorkerToken.layer.pipe(Layer.provide(channel))),
      // One budget for both sides of the wire.
      Layer.provide(budget)
    )))

/** The sidecar as the daemon runs it. `SIDECAR_WIRE=grpc-js` takes the reference wire, for comparison. */
export const layer: Layer.Layer<
  Core | GrpcServer | OpsHttpService,
  BindError | JournalError,
  SidecarConfig
> = Layer.unwrap(Effect.map(SidecarConfig, ({ server }) => layerOn(server.wire ?? "http2")))
