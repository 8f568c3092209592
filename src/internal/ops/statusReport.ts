import type { Reading } from "../../services/MetricReadings.ts"
import type { PastEvent } from "../../services/PastEvent.ts"
import type { RunningStream } from "../../services/RunningStream.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import type { StatusReport } from "../../services/StatusReport.ts"
import type { WorkerHealth } from "../../services/WorkerConnection.ts"
import type { Recent } from "../metrics/recentWindow.ts"
import type { Readiness } from "./readiness.ts"
import { streamRows } from "./streamRow.ts"

/** What the status page is made of. */
export interface StatusSource {
  readonly version: string
  /** Wall clock, milliseconds since the epoch. */
  readonly now: number
  readonly startedAt: number
  /** By the monotonic clock. */
  readonly uptimeMillis: number
  readonly readiness: Readiness
  readonly figures: Readonly<Record<string, number>>
  readonly recent: Recent
  /** The series of a metric by name. */
  readonly series: (name: string) => ReadonlyArray<Reading>
  readonly health: WorkerHealth | undefined
  readonly settings: Settings
  /** Somebody takes the usage records. */
  readonly billed: boolean
  readonly publish: (text: string) => string
  /** What happened lately, the oldest first. */
  readonly events: ReadonlyArray<PastEvent>
  readonly identity: StatusReport["identity"]
  readonly running: ReadonlyArray<RunningStream>
  /** Between two figures of the history. */
  readonly stepSeconds: number
}

/** How many of the worker's own figures, and how many models, the page shows. */
const maxRows = 12

/** The streams under way that it lists. */
const maxStreams = 20

const circuitWords = ["closed", "half open", "open"] as const

/** `unix` for a socket: where it lies is nobody's business but the operator's on the machine itself. */
const listenWord = (address: string): string => address.startsWith("unix:") ? "a Unix socket" : address

const labelled = (readings: ReadonlyArray<Reading>, label: string): ReadonlyArray<readonly [string, number]> =>
  readings.map(({ labels, value }) => [String(labels?.[label] ?? ""), value])

const summary = (
  { figures, readiness, recent, settings, stepSeconds }: StatusSource
) => ({
  streams: {
    in_flight: readiness.streams_in_flight,
    held: figures["sidecar_streams_held"] ?? 0,
    queued: figures["sidecar_streams_queued"] ?? 0,
    limit: settings.server.max_concurrent_streams,
    total: figures["sidecar_requests_total"] ?? 0,
    success: figures["sidecar_requests_success_total"] ?? 0,
    failed: figures["sidecar_requests_failed_total"] ?? 0,
    cancelled: figures["sidecar_requests_cancelled_total"] ?? 0,
    replayed: figures["sidecar_streams_replayed_total"] ?? 0
  },
  tokens: {
    total: figures["sidecar_tokens_processed_total"] ?? 0,
    per_second: recent.tokensPerSecond,
    history: recent.history,
    history_step_seconds: stepSeconds
  },
  recent: {
    seconds: recent.seconds,
    success: recent.success,
    failed: recent.failed,
    cancelled: recent.cancelled,
    success_ratio: recent.successRatio
  },
  latency: recent.quantiles
})

const usage = ({ billed, figures, settings, series }: StatusSource) => {
  const records = Object.fromEntries(labelled(series("sidecar_usage_records"), "state"))
  return {
    open: records["open"] ?? 0,
    waiting: records["waiting"] ?? 0,
    set_aside: records["set_aside"] ?? 0,
    acknowledged: records["acknowledged"] ?? 0,
    lag_seconds: figures["sidecar_usage_lag_seconds"] ?? 0,
    queue_size: settings.metering.offline_queue_size,
    billing: billed
  }
}

/** Bounds that are in force, beside what they bound. */
const limits = ({ figures, readiness, running, series, settings: { metering, server, reload } }: StatusSource) => {
  const open = new Map(labelled(series("sidecar_open_calls"), "kind"))
  const records = new Map(labelled(series("sidecar_usage_records"), "state"))
  const atWorker = running.filter(({ state }) => state === "at the worker").length
  return [
    { name: "max_concurrent_streams", value: readiness.streams_in_flight, limit: server.max_concurrent_streams },
    { name: "max_worker_streams", value: atWorker, limit: server.max_worker_streams },
    { name: "max_queued_streams", value: figures["sidecar_streams_queued"] ?? 0, limit: server.max_queued_streams },
    { name: "max_held_streams", value: figures["sidecar_streams_held"] ?? 0, limit: reload.max_held_streams },
    { name: "max_connections", value: figures["sidecar_gateway_connections"] ?? 0, limit: server.max_connections },
    { name: "max_own_calls", value: open.get("own") ?? 0, limit: server.max_own_calls },
    {
      name: "max_unfinished_bytes",
      value: figures["sidecar_unfinished_bytes"] ?? 0,
      limit: server.max_unfinished_bytes
    },
    { name: "offline_queue_size", value: records.get("waiting") ?? 0, limit: metering.offline_queue_size }
  ].filter(({ limit }) => limit > 0)
}

const ownProcess = ({ recent, series }: StatusSource) => {
  const figure = (name: string) => series(name)[0]?.value
  return {
    rss_bytes: figure("process_resident_memory_bytes") ?? 0,
    cpu_ratio: recent.cpuRatio,
    loop_p90_seconds: figure("nodejs_eventloop_lag_p90_seconds") ?? 0,
    open_fds: figure("process_open_fds") ?? null
  }
}

/**
 * The content of `/api/status`. Nothing in it names a path or repeats what a model said; it names the tenants and gateways of
 * streams under way.
 */
export const statusReport = (source: StatusSource): StatusReport => {
  const { figures, health, now, publish, readiness, series, settings, startedAt, uptimeMillis, version } = source
  const bind = settings.server.bind_addr
  return {
    now: new Date(now).toISOString(),
    version,
    started_at: new Date(startedAt).toISOString(),
    uptime_seconds: uptimeMillis / 1000,
    identity: source.identity,
    readiness,
    ...summary(source),
    worker: {
      reconnects: figures["sidecar_worker_reconnects_total"] ?? 0,
      connection_errors: figures["sidecar_worker_connection_errors_total"] ?? 0,
      circuit: circuitWords[figures["sidecar_circuit_state"] ?? 0] ?? "unknown",
      health: health === undefined
        ? null
        : {
          healthy: health.healthy,
          as_of: readiness.status === "connected" ? null : readiness.since,
          metrics: Object.entries(health.metrics).slice(0, maxRows).map(([name, value]) =>
            [
              publish(name),
              publish(value)
            ] as const
          )
        }
    },
    models: labelled(series("sidecar_model_tokens_total"), "model_id")
      .toSorted(([, a], [, b]) => b - a)
      .slice(0, maxRows)
      .map(([name, tokens]) => [publish(name), tokens] as const),
    outcomes: labelled(series("sidecar_stream_outcomes_total"), "outcome").filter(([, value]) => value > 0),
    refusals: labelled(series("sidecar_refusals_total"), "reason").filter(([, value]) => value > 0)
      .toSorted(([, a], [, b]) => b - a),
    limits: limits(source),
    running: streamRows(source.running, maxStreams).map((row) => ({
      ...row,
      model: publish(row.model),
      tenant: publish(row.tenant),
      trace_id: publish(row.trace_id)
    })),
    usage: usage(source),
    process: ownProcess(source),
    events: source.events.map((event): PastEvent => ({ ...event, text: publish(event.text) })),
    config: {
      gateway_address: (typeof bind === "string" ? [bind] : bind).map(listenWord),
      tls: settings.server.tls_cert === undefined
        ? "off"
        : settings.server.tls_client_ca === undefined
        ? "on"
        : "on, client certificates demanded",
      max_worker_streams: settings.server.max_worker_streams,
      hold_timeout_secs: settings.reload.hold_timeout_secs,
      drain_timeout_secs: settings.server.drain_timeout_secs,
      durability: settings.metering.durability,
      log_level: settings.observability.log_level
    }
  }
}
