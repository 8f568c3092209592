import type { Reading } from "../../services/MetricReadings.ts"
import type { PastEvent } from "../../services/PastEvent.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import type { WorkerHealth } from "../../services/WorkerConnection.ts"
import type { Recent } from "../metrics/recentWindow.ts"
import type { Readiness } from "./readiness.ts"

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
}

/** How many of the worker's own figures, and how many models, the page shows. */
const maxRows = 12

const circuitWords = ["closed", "half open", "open"]

/** `unix` for a socket: where it lies is nobody's business but the operator's on the machine itself. */
const listenWord = (address: string): string => address.startsWith("unix:") ? "a Unix socket" : address

const labelled = (readings: ReadonlyArray<Reading>, label: string): ReadonlyArray<readonly [string, number]> =>
  readings.map(({ labels, value }) => [String(labels?.[label] ?? ""), value])

const summary = (
  { figures, readiness, recent, settings }: StatusSource
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
    history: recent.history
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

/** The content of `/status.json`. Nothing in it names a path or repeats what a model said. */
export const statusReport = (source: StatusSource) => {
  const { figures, health, now, publish, readiness, series, settings, startedAt, uptimeMillis, version } = source
  const bind = settings.server.bind_addr
  return {
    now: new Date(now).toISOString(),
    version,
    started_at: new Date(startedAt).toISOString(),
    uptime_seconds: uptimeMillis / 1000,
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
          metrics: Object.entries(health.metrics).slice(0, maxRows).map(([name, value]) => [
            publish(name),
            publish(value)
          ])
        }
    },
    models: labelled(series("sidecar_model_tokens_total"), "model_id")
      .toSorted(([, a], [, b]) => b - a)
      .slice(0, maxRows)
      .map(([name, tokens]) => [publish(name), tokens] as const),
    outcomes: labelled(series("sidecar_stream_outcomes_total"), "outcome").filter(([, value]) => value > 0),
    usage: usage(source),
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

export type StatusReport = ReturnType<typeof statusReport>
