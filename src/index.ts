/**
 * `cy-llm-sidecar`: the sidecar's parts for another Effect application. Each service is a tag with its contract; the
 * layers that implement it stand in {@link Sidecar} (all of it), {@link TomlConfig} (settings from a file, the environment
 * or code) and, one by one, in the namespaces below. Nothing runs on import.
 */

/** The composed sidecar: `make` (for an application), `layer` (as the daemon), `layerOn`, `layerCore`; its `events`. */
export * as Sidecar from "./layers/Sidecar.ts"
/** Settings: `layer` (file and environment), `layerFrom` (an object, with defaults and the same checks). */
export * as TomlConfig from "./layers/TomlConfig.ts"
/** The log as the daemon writes it; leave it out to keep your application's own. */
export * as Logging from "./layers/Logging.ts"
/** The wires; `GrpcJsServer.addTo` adds the sidecar to a grpc-js server that you already have. */
export * as GrpcJsServer from "./layers/GrpcJsServer.ts"
export * as GrpcJsWorkerChannel from "./layers/GrpcJsWorkerChannel.ts"
export * as Http2Server from "./layers/Http2Server.ts"
export * as Http2WorkerChannel from "./layers/Http2WorkerChannel.ts"
/** What the servers answer, method by method. */
export * as Routes from "./layers/SidecarRoutes.ts"
/** The parts below, to replace one by one. */
export * as BillingReporter from "./layers/BillingReporter.ts"
export * as BoundedEvents from "./layers/BoundedEvents.ts"
export * as Drain from "./layers/Drain.ts"
export * as HttpBillingSink from "./layers/HttpBillingSink.ts"
export * as InProcessClient from "./layers/InProcessClient.ts"
export * as JournalMeter from "./layers/JournalMeter.ts"
export * as MemoryJournal from "./layers/MemoryJournal.ts"
export * as NatsBillingSink from "./layers/NatsBillingSink.ts"
export * as NoMetrics from "./layers/NoMetrics.ts"
export * as ObservedJournal from "./layers/ObservedJournal.ts"
export * as OpsHttpServer from "./layers/OpsHttp.ts"
export * as PromMetrics from "./layers/PromMetrics.ts"
export * as ReplayingProxy from "./layers/ReplayingProxy.ts"
export * as ReportFanout from "./layers/ReportFanout.ts"
export * as SqliteJournal from "./layers/SqliteJournal.ts"
export * as StreamHook from "./layers/StreamHook.ts"
export * as SupervisedConnection from "./layers/SupervisedConnection.ts"
export * as Tracing from "./layers/Tracing.ts"

export * from "./services/BillingSink.ts"
export * from "./services/CallMetrics.ts"
export * from "./services/ConfigReload.ts"
export * from "./services/GatewayMetrics.ts"
export * from "./services/GrpcServer.ts"
export * from "./services/InferenceProxy.ts"
export * from "./services/LimitMetrics.ts"
export * from "./services/LlmClient.ts"
export * from "./services/MetricReadings.ts"
export * from "./services/Metrics.ts"
export * from "./services/OpsHttp.ts"
export * from "./services/PastEvent.ts"
export * from "./services/RunningStream.ts"
export * from "./services/SidecarConfig.ts"
export * from "./services/SidecarEvents.ts"
export * as Status from "./services/Status.ts"
export * from "./services/StreamError.ts"
export * from "./services/StreamHooks.ts"
export * from "./services/StreamMetrics.ts"
export * from "./services/StreamReports.ts"
export * from "./services/StreamTracer.ts"
export * from "./services/UsageJournal.ts"
export * from "./services/UsageMeter.ts"
export * from "./services/UsageMetrics.ts"
export * from "./services/UsageRecord.ts"
export * as Wire from "./services/Wire.ts"
export * from "./services/WorkerChannel.ts"
export * from "./services/WorkerConnection.ts"
export * from "./services/WorkerMetrics.ts"
