import { Clock, Effect, Fiber, Layer, Option, type Scope } from "effect"
import { hostname } from "node:os"
import * as RecentWindow from "../internal/metrics/recentWindow.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { isOutOfFiles, OUT_OF_FILES } from "../internal/openFiles.ts"
import { prefersOpenMetrics } from "../internal/ops/accepted.ts"
import type { OpsLimit } from "../internal/ops/opsConnections.ts"
import { type OpsAnswer, type OpsPage, type OpsPages, serve } from "../internal/ops/opsServer.ts"
import { type PortOwner, portOwner } from "../internal/ops/portOwner.ts"
import { readiness } from "../internal/ops/readiness.ts"
import { sharedAnswer } from "../internal/ops/sharedAnswer.ts"
import { statusPage, statusPagePolicy } from "../internal/ops/statusPage.ts"
import { statusReport } from "../internal/ops/statusReport.ts"
import { publicText } from "../internal/publicText.ts"
import { version } from "../internal/version.ts"
import { parseWorkerAddress } from "../services/Address.ts"
import { billingCondition, isBilled } from "../services/BillingSink.ts"
import { BindError } from "../services/GrpcServer.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import { LimitMetrics } from "../services/LimitMetrics.ts"
import { MetricReadings } from "../services/MetricReadings.ts"
import { Metrics } from "../services/Metrics.ts"
import { OpsHttp } from "../services/OpsHttp.ts"
import { type Settings, SidecarConfig } from "../services/SidecarConfig.ts"
import { eventTeller, SidecarEvent, SidecarEvents } from "../services/SidecarEvents.ts"
import { UsageJournal } from "../services/UsageJournal.ts"
import { WorkerConnection } from "../services/WorkerConnection.ts"

/**
 * The operators' port on Node's HTTP server. `MetricReadings` (quantiles, detail by label) and `UsageJournal` (its
 * condition) are used where they are provided; closing the scope stops listening within a second.
 */
export const layer: Layer.Layer<
  OpsHttp,
  BindError,
  SidecarConfig | Metrics | LimitMetrics | WorkerConnection | InferenceProxy
> = Layer.effect(
  OpsHttp,
  Effect.gen(function*() {
    const settings = yield* SidecarConfig
    const pages = yield* makePages(settings)
    return yield* listen(settings, pages)
  })
)

/** How often each format of the metrics is written within 250 ms: 2 ms of CPU each time. */
const FRESH_EXPOSITIONS = 25

/** The window of the status page: 5 minutes in steps of 5 seconds. */
const stepSeconds = 5
const windowSteps = 60

/** Where a histogram stands in the report, and its metric. */
const histograms = {
  first_token: "sidecar_time_to_first_token_seconds",
  inter_token: "sidecar_inter_token_latency_seconds",
  duration: "sidecar_request_duration_seconds",
  overhead: "sidecar_stream_overhead_seconds",
  cancel: "sidecar_cancel_propagation_seconds"
}

const json = (value: object, status?: number): OpsAnswer => ({
  status,
  contentType: "application/json",
  body: JSON.stringify(value)
})

const makePages = Effect.fnUntraced(function*(
  settings: Settings
): Effect.fn.Return<
  OpsPages,
  never,
  SidecarConfig | Metrics | WorkerConnection | InferenceProxy | Scope.Scope
> {
  const metrics = yield* Metrics
  const worker = yield* WorkerConnection
  const proxy = yield* InferenceProxy
  const readings = Option.getOrUndefined(yield* Effect.serviceOption(MetricReadings))
  const journal = Option.getOrUndefined(yield* Effect.serviceOption(UsageJournal))
  const events = Option.getOrUndefined(yield* Effect.serviceOption(SidecarEvents))
  const billed = yield* isBilled
  const billing = yield* billingCondition
  const clock = yield* Clock.Clock
  const monotonic = monotonicMillis(clock)
  const startedAt = clock.currentTimeMillisUnsafe()
  const workerAt = parseWorkerAddress(settings.server.worker_uds)
  const startedMonotonic = monotonic()
  const publish = publicText([
    workerAt?._tag === "Unix" ? workerAt.path : "",
    settings.metering.journal_path
  ])

  const totals = Effect.map(metrics.figures, (figures): RecentWindow.Totals => ({
    at: monotonic(),
    tokens: figures["sidecar_tokens_processed_total"] ?? 0,
    success: figures["sidecar_requests_success_total"] ?? 0,
    failed: figures["sidecar_requests_failed_total"] ?? 0,
    cancelled: figures["sidecar_requests_cancelled_total"] ?? 0,
    cpu: readings?.series("process_cpu_seconds_total")[0]?.value ?? 0,
    distributions: Object.fromEntries(
      Object.entries(histograms).map(([key, name]) => [key, readings?.distribution(name)])
    )
  }))
  const window = RecentWindow.make(windowSteps)
  yield* Effect.map(totals, window.push).pipe(
    Effect.andThen(Effect.sleep(`${stepSeconds} seconds`)),
    Effect.forever,
    Effect.forkScoped({ startImmediately: true })
  )

  const ready = Effect.sync(() =>
    readiness({
      now: clock.currentTimeMillisUnsafe(),
      ready: proxy.ready(),
      admission: proxy.admission(),
      state: worker.current(),
      draining: proxy.draining(),
      stopping: proxy.stopping(),
      inFlight: proxy.inFlight(),
      journal: journal?.condition(),
      billing: billing.condition(),
      publish
    })
  )
  const report = Effect.gen(function*() {
    return statusReport({
      version,
      now: clock.currentTimeMillisUnsafe(),
      startedAt,
      uptimeMillis: monotonic() - startedMonotonic,
      readiness: yield* ready,
      figures: yield* metrics.figures,
      recent: window.recent(yield* totals),
      series: (name) => readings?.series(name) ?? [],
      health: worker.lastHealth(),
      settings,
      billed,
      publish,
      events: events?.history() ?? [],
      identity: { host: hostname(), pid: process.pid, sidecar_id: journal?.sidecarId() ?? null },
      running: proxy.running(),
      stepSeconds
    })
  })

  const reported = sharedAnswer(Effect.map(report, (answer) => json(answer)), monotonic)
  // Together no more than one page may cost.
  const text = sharedAnswer(metrics.scrape, monotonic, FRESH_EXPOSITIONS)
  const openMetrics = sharedAnswer(metrics.openMetrics, monotonic, FRESH_EXPOSITIONS)
  return new Map<string, OpsPage>([
    ["/healthz", Effect.succeed({ body: "ok\n" })],
    ["/readyz", Effect.map(ready, (answer) => json(answer, answer.ready ? 200 : 503))],
    ["/metrics", (accept) => prefersOpenMetrics(accept) ? openMetrics : text],
    ["/api/status", reported],
    // Its name in earlier versions.
    ["/status.json", reported],
    [
      "/",
      sharedAnswer(
        Effect.map(report, (answer) => ({
          body: statusPage(answer),
          contentType: "text/html; charset=utf-8",
          headers: { "content-security-policy": statusPagePolicy }
        })),
        monotonic
      )
    ]
  ])
})

const listen = Effect.fnUntraced(function*(
  settings: Settings,
  pages: OpsPages
): Effect.fn.Return<OpsHttp["Service"], BindError, LimitMetrics | Scope.Scope> {
  const { metrics_host: host, metrics_max_connections: maxConnections, metrics_port: port } = settings.observability
  const onLimit = yield* makeOnLimit(maxConnections)
  const bound = yield* serve(pages, { host, port, maxConnections, onLimit }).pipe(
    Effect.catch((error) =>
      Effect.gen(function*() {
        const owner = codeOf(error) === "EADDRINUSE" ? yield* portOwner(host, port) : "unknown"
        return yield* bindError(error, host, port, owner)
      })
    )
  )
  const address = host.includes(":") ? `[${host}]:${bound}` : `${host}:${bound}`
  yield* Effect.logInfo("metrics server listening").pipe(Effect.annotateLogs({ address }))
  return { port: bound, address }
})

/** A limit that bites often is counted each time, and told once a minute. */
const tellAgainMillis = 60_000

const limitWords = (limit: OpsLimit, maxConnections: number): string =>
  limit === "connections"
    ? `the metrics server has ${maxConnections} connections, and closes the longest idle one for a new one ` +
      "([observability] metrics_max_connections)"
    : "the metrics server closes a connection that asks far ahead of the answers"

const makeOnLimit = Effect.fnUntraced(function*(
  maxConnections: number
): Effect.fn.Return<(limit: OpsLimit, peer: string) => void, never, LimitMetrics | Scope.Scope> {
  const metrics = yield* LimitMetrics
  const now = monotonicMillis(yield* Clock.Clock)
  const track = Fiber.runIn(yield* Effect.scope)
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const tell = yield* eventTeller
  const told = new Map<OpsLimit, { readonly at: number; untold: number }>()
  return (limit, peer) => {
    metrics.opsLimited(limit)
    const at = now()
    const last = told.get(limit)
    if (last !== undefined && at - last.at < tellAgainMillis) {
      last.untold++
      return
    }
    told.set(limit, { at, untold: 0 })
    const detail = limitWords(limit, maxConnections)
    track(run(Effect.logWarning(detail).pipe(Effect.annotateLogs({ peer }))))
    tell(SidecarEvent.LimitReached({ limit: `ops_${limit}`, detail, times: 1 + (last?.untold ?? 0) }))
  }
})

const key = "[observability] metrics_port"
const remedy = "set [observability] metrics_port / SIDECAR_METRICS_PORT"

const codeOf = (error: Error): string => "code" in error ? String(error.code) : "unknown"

/** Who has the port, and what to do about it. */
const inUse = (port: number, owner: PortOwner): string => {
  switch (owner) {
    case "cy-llm worker":
      return `metrics port ${port} is in use by the health server of a CY-LLM worker: start that worker with ` +
        `CY_LLM_HEALTH_PORT=19090, or ${remedy}`
    case "sidecar":
      return `metrics port ${port} is in use by another sidecar: stop it or ${remedy}`
    case "unknown":
      return `metrics port ${port} is in use by another process: stop it or ${remedy}`
  }
}

const bindError = (error: Error, host: string, port: number, owner: PortOwner): BindError => {
  const code = codeOf(error)
  const say = (reason: BindError["reason"], detail: string) =>
    new BindError({ key, address: `${host}:${port}`, reason, detail })
  if (isOutOfFiles(code)) return say("unavailable", `cannot listen on metrics port ${port}: ${OUT_OF_FILES}`)
  switch (code) {
    case "EADDRINUSE":
      return say("in_use", inUse(port, owner))
    case "EACCES":
    case "EPERM":
      return say("forbidden", `no permission to listen on metrics port ${port}: ${remedy} to one above 1023`)
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return say(
        "unavailable",
        `metrics host ${host} is not an address of this machine: ` +
          "set [observability] metrics_host / SIDECAR_METRICS_HOST"
      )
    default:
      return say("unavailable", `cannot listen on metrics port ${port} of ${host} (${code}): ${remedy}`)
  }
}
