import { Effect, Layer, Option, Stream } from "effect"
import { type OwnParts, voidSettings } from "../internal/config/voidSettings.ts"
import { isTraced } from "../internal/ops/otelEnvironment.ts"
import { isNatsAddress } from "../services/BillingEndpoint.ts"
import { BillingCondition, type BillingError, billingOff, BillingSink, isBilled } from "../services/BillingSink.ts"
import type { GatewayMetrics } from "../services/GatewayMetrics.ts"
import type { BindError, GrpcServer, SidecarRoutes as SidecarRoutesService } from "../services/GrpcServer.ts"
import type { InferenceProxy } from "../services/InferenceProxy.ts"
import type { LlmClient } from "../services/LlmClient.ts"
import type { MetricReadings } from "../services/MetricReadings.ts"
import type { Metrics, Recorders } from "../services/Metrics.ts"
import type { OpsHttp as OpsHttpService } from "../services/OpsHttp.ts"
import { type ConfigError, type PartialSettings, SidecarConfig } from "../services/SidecarConfig.ts"
import { type SidecarEvent, SidecarEvents } from "../services/SidecarEvents.ts"
import type { StreamReports } from "../services/StreamReports.ts"
import type { JournalError, UsageJournal } from "../services/UsageJournal.ts"
import type { UsageMeter } from "../services/UsageMeter.ts"
import type { UsageMetrics } from "../services/UsageMetrics.ts"
import { WorkerChannel } from "../services/WorkerChannel.ts"
import type { WorkerConnection } from "../services/WorkerConnection.ts"
import * as AccessLog from "./AccessLog.ts"
import * as BoundedEvents from "./BoundedEvents.ts"
import * as Drain from "./Drain.ts"
import * as HookedConnection from "./HookedConnection.ts"
import * as Http2Server from "./Http2Server.ts"
import * as Http2WorkerChannel from "./Http2WorkerChannel.ts"
import * as InProcessClient from "./InProcessClient.ts"
import * as JournalMeter from "./JournalMeter.ts"
import * as LimitGauges from "./LimitGauges.ts"
import * as LimitLog from "./LimitLog.ts"
import * as MemoryJournal from "./MemoryJournal.ts"
import * as ObservedJournal from "./ObservedJournal.ts"
import * as OpsHttp from "./OpsHttp.ts"
import * as PromMetrics from "./PromMetrics.ts"
import * as ReplayingProxy from "./ReplayingProxy.ts"
import * as ReportFanout from "./ReportFanout.ts"
import * as SidecarRoutes from "./SidecarRoutes.ts"
import * as SqliteJournal from "./SqliteJournal.ts"
import * as SupervisedConnection from "./SupervisedConnection.ts"
import * as TomlConfig from "./TomlConfig.ts"
import * as UnfinishedBudget from "./UnfinishedBudget.ts"
import * as WorkerToken from "./WorkerToken.ts"

/** What the core gives to an application that embeds it. */
export type Core =
  | LlmClient
  | SidecarEvents
  | StreamReports
  | InferenceProxy
  | WorkerConnection
  | UsageMeter
  | UsageJournal
  | Metrics
  | Recorders
  | MetricReadings

/** What stands on a journal: the path of a stream and all that it needs but the wire. */
const layerOver = <E>(journal: Layer.Layer<UsageJournal, E, SidecarConfig | UsageMetrics>) =>
  // A model in process: on top, since it calls what gateways call.
  InProcessClient.layer.pipe(
    Layer.provide(SidecarRoutes.layer),
    // A stream is admitted before the path of a stream knows of it, and its text is changed before it is counted.
    Layer.provideMerge(BoundedEvents.layerOfDrain),
    Layer.provideMerge(ReplayingProxy.layer),
    Layer.provideMerge(HookedConnection.layer),
    Layer.provideMerge(AccessLog.layer),
    // The end of a stream is told once, to all who want to know.
    Layer.provideMerge(ReportFanout.layer),
    // A refusal is told where it is counted.
    Layer.provideMerge(BoundedEvents.layerOfRefusals),
    // What happens is told as long as something happens.
    Layer.provideMerge(BoundedEvents.layerOfWorker),
    // The path of a stream needs a status to decide on and a meter to count into.
    Layer.provideMerge(SupervisedConnection.layer),
    Layer.provideMerge(JournalMeter.layer),
    // Between the meter and the journal: an end is told when it is committed.
    Layer.provideMerge(ObservedJournal.layer),
    // Below the meter: what was counted outlives what counts it.
    Layer.provideMerge(journal),
    // All that a peer can exhaust tells here when it bites.
    Layer.provideMerge(LimitLog.layer),
    Layer.provideMerge(LimitGauges.layer),
    Layer.provideMerge(BoundedEvents.layer),
    Layer.provideMerge(PromMetrics.layer)
  )

/**
 * The sidecar without its wire: give it a `WorkerChannel` (a real one, or the scripted one of the testing kit) and drive
 * `InferenceProxy` or `LlmClient`. Counts are kept in memory.
 */
export const layerCore: Layer.Layer<Core, never, WorkerChannel | SidecarConfig> = Layer.fresh(
  layerOver(MemoryJournal.layer)
)

/** Which implementation stands behind both seams to the wire. */
export type Wire = "http2" | "grpc-js"

/** Loaded when somebody bills, and only what the endpoint asks for: an HTTP client, or a broker's. */
const sinkOf = (endpoint: string | undefined) =>
  endpoint !== undefined && isNatsAddress(endpoint)
    ? Effect.map(Effect.promise(() => import("./NatsBillingSink.ts")), ({ layer }) => layer)
    : Effect.map(Effect.promise(() => import("./HttpBillingSink.ts")), ({ layer }) => layer)

/** The application's own sink, or the billing service; where nobody bills, no reporter either. */
const billing: Layer.Layer<BillingCondition, BillingError, UsageJournal | UsageMetrics | SidecarConfig> = Layer.unwrap(
  Effect.gen(function*() {
    if (!(yield* isBilled)) return Layer.succeed(BillingCondition, billingOff)
    const { layer } = yield* Effect.promise(() => import("./BillingReporter.ts"))
    const own = yield* Effect.serviceOption(BillingSink)
    return Layer.provide(
      layer,
      Option.isSome(own)
        ? Layer.succeed(BillingSink, own.value)
        : yield* sinkOf((yield* SidecarConfig).metering.billing_endpoint)
    )
  })
)

/** Where the wire tells of its bounds: the same figures, the same events and the same log as everybody's. */
const told = LimitLog.layer.pipe(Layer.provide(BoundedEvents.layer), Layer.provide(PromMetrics.layer))

/** Without a collector there is no HTTP client either. */
const tracing = Layer.unwrap(Effect.gen(function*() {
  if (!(yield* isTraced((yield* SidecarConfig).observability.otlp_endpoint))) return Layer.empty
  return Layer.provide((yield* Effect.promise(() => import("./Tracing.ts"))).layer, told)
}))

/** The memory for half messages. */
const budget = UnfinishedBudget.layer.pipe(Layer.provide(told), Layer.provide(PromMetrics.layer))

/** Both sides of one wire. The reference wire is loaded only when it is asked for: grpc-js is large. */
const bothSides = (wire: Wire) =>
  wire === "http2"
    ? Effect.succeed({ channel: Http2WorkerChannel.layer, server: Http2Server.layer })
    : Effect.map(
      Effect.promise(() => Promise.all([import("./GrpcJsWorkerChannel.ts"), import("./GrpcJsServer.ts")])),
      ([channel, server]) => ({ channel: channel.layer, server: server.layer })
    )

/** The application's own channel, or that of the wire with the worker's token. */
const channelOr = (wire: Layer.Layer<WorkerChannel, never, SidecarConfig>) =>
  Layer.unwrap(Effect.map(Effect.serviceOption(WorkerChannel), (own) =>
    Option.isSome(own)
      ? Layer.succeed(WorkerChannel, own.value)
      : WorkerToken.layer.pipe(Layer.provide(wire))))

/** A setting that somebody has made, and that does nothing here, is said: it was meant to do something. */
const tellVoid = (own: Pick<OwnParts, "journal" | "noGateways" | "noOps">) =>
  Layer.effectDiscard(Effect.gen(function*() {
    const channel = Option.isSome(yield* Effect.serviceOption(WorkerChannel))
    const sink = Option.isSome(yield* Effect.serviceOption(BillingSink))
    yield* Effect.forEach(
      voidSettings(yield* SidecarConfig, { ...own, channel, sink }),
      (line) => Effect.logWarning(line)
    )
  }))

/** Everything below `front`, which is what faces gateways and operators. */
const below = <A, E, R, EJ>(
  front: Layer.Layer<A, E, R>,
  channel: Layer.Layer<WorkerChannel, never, SidecarConfig>,
  journal: Layer.Layer<UsageJournal, EJ, SidecarConfig | UsageMetrics>
) =>
  front.pipe(
    // Records leave the journal for the billing service once the last stream has been counted.
    Layer.provideMerge(layerOver(Layer.provideMerge(billing, journal))),
    // Around the path of a stream: what it did is told after it has ended.
    Layer.provide(tracing),
    Layer.provide(channelOr(channel.pipe(Layer.provide(told)))),
    // One budget for both sides of the wire.
    Layer.provide(budget)
  )

/** What gateways call. The drain stands above everything that a running stream needs, so that it closes first. */
const gateways = (server: Layer.Layer<GrpcServer, BindError, GatewayMetrics | SidecarConfig | SidecarRoutesService>) =>
  Drain.layer.pipe(Layer.provideMerge(server), Layer.provide(SidecarRoutes.layer))

/** A graph of its own, whatever else is built beside it: two sidecars are two. */
const separate = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> =>
  // One value is one sidecar, however many parts of the application are given it.
  Layer.fromBuildMemo((_, scope) => Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope))

/** The whole sidecar on one of its wires; closing the scope is the drain. */
export const layerOn = (
  wire: Wire
): Layer.Layer<Core | GrpcServer | OpsHttpService, BillingError | BindError | JournalError, SidecarConfig> =>
  Layer.fresh(Layer.unwrap(Effect.map(bothSides(wire), ({ channel, server }) =>
    // The operators' port is open before the first gateway comes and until the last one has gone.
    below(Layer.provideMerge(gateways(server), OpsHttp.layer), channel, SqliteJournal.layer).pipe(
      Layer.merge(tellVoid({ journal: false, noGateways: false, noOps: false }))
    ))))

/**
 * The sidecar as the daemon runs it, with a `BillingSink` or `WorkerChannel` of the application's own where one is
 * provided. `SIDECAR_WIRE=grpc-js` takes the reference wire, for comparison.
 */
export const layer: Layer.Layer<
  Core | GrpcServer | OpsHttpService,
  BillingError | BindError | JournalError,
  SidecarConfig
> = Layer.fresh(Layer.unwrap(Effect.map(SidecarConfig, ({ server }) => layerOn(server.wire ?? "http2"))))

type SettingsLayer = Layer.Layer<SidecarConfig, ConfigError>

const isLayer = (settings: PartialSettings | SettingsLayer): settings is SettingsLayer => Layer.isLayer(settings)

/** What a sidecar of the application's own is made of. */
export interface Options<EJ = never> {
  /** Some settings, the rest are the defaults; or a layer: `TomlConfig.layer` for file and environment. */
  readonly settings?: PartialSettings | SettingsLayer | undefined
  /** Where usage records wait: `"file"` (`[metering] journal_path`, the default), `"memory"`, or a journal of one's own. */
  readonly journal?: "file" | "memory" | Layer.Layer<UsageJournal, EJ, SidecarConfig | UsageMetrics> | undefined
  /** What is listened on. Default: nothing. */
  readonly ports?: { readonly gateways?: boolean | undefined; readonly ops?: boolean | undefined } | undefined
}

/**
 * A sidecar for an application: what is provided is what runs.
 *
 * **Details**
 *
 * A `BillingSink` that is provided to the layer (`Layer.provide`) takes the records, whether `[metering] billing_endpoint` is
 * set or not; a `WorkerChannel` that is provided is the way to the worker. A setting which that makes void is said once.
 * Each call of `make` is a sidecar that shares nothing with another one, and one layer is one sidecar, however often it is
 * provided. It listens on no port that was not asked for. Closing its scope is the drain.
 *
 * **Gotchas**
 *
 * Two sidecars with a journal in a file need two files.
 */
export function make<EJ = never>(
  options: Options<EJ> & { readonly ports: { readonly gateways: true; readonly ops: true } }
): Layer.Layer<Core | GrpcServer | OpsHttpService, MakeError | EJ>
export function make<EJ = never>(
  options: Options<EJ> & { readonly ports: { readonly gateways: true; readonly ops?: false | undefined } }
): Layer.Layer<Core | GrpcServer, MakeError | EJ>
export function make<EJ = never>(
  options: Options<EJ> & { readonly ports: { readonly gateways?: false | undefined; readonly ops: true } }
): Layer.Layer<Core | OpsHttpService, MakeError | EJ>
export function make<EJ = never>(options?: Options<EJ>): Layer.Layer<Core, MakeError | EJ>
export function make<EJ>(
  { journal = "file", ports = {}, settings = {} }: Options<EJ> = {}
): Layer.Layer<Core, MakeError | EJ> | Layer.Layer<Core | GrpcServer | OpsHttpService, MakeError | EJ> {
  const config = isLayer(settings) ? settings : TomlConfig.layerFrom(settings)
  const chosen: Layer.Layer<UsageJournal, EJ | JournalError, SidecarConfig | UsageMetrics> = journal === "file"
    ? SqliteJournal.layer
    : journal === "memory"
    ? MemoryJournal.layer
    : journal
  const own = { journal: journal !== "file", noGateways: ports.gateways !== true, noOps: ports.ops !== true }
  const around = <A, E, R>(
    front: (
      server: Layer.Layer<GrpcServer, BindError, GatewayMetrics | SidecarConfig | SidecarRoutesService>
    ) => Layer.Layer<A, E, R>
  ) =>
    separate(
      Layer.unwrap(Effect.gen(function*() {
        const { channel, server } = yield* bothSides((yield* SidecarConfig).server.wire ?? "http2")
        return below(front(server), channel, chosen)
      })).pipe(Layer.merge(tellVoid(own)), Layer.provideMerge(config))
    )
  if (ports.gateways === true && ports.ops === true) {
    return around((server) => Layer.provideMerge(gateways(server), OpsHttp.layer))
  }
  if (ports.gateways === true) return around(gateways)
  if (ports.ops === true) return around(() => Layer.provideMerge(Drain.layer, OpsHttp.layer))
  return around(() => Drain.layer)
}

/** Why a sidecar does not start. */
export type MakeError = BillingError | BindError | ConfigError | JournalError

/** The events of the sidecar in the context: ends, changes of the worker's status, reloads. */
export const events: Stream.Stream<SidecarEvent, never, SidecarEvents> = Stream.unwrap(
  SidecarEvents.useSync(({ events }) => events)
)
