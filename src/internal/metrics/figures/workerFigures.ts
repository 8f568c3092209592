import { LinkFault } from "../../../services/WorkerChannel.ts"
import type { WorkerState } from "../../../services/WorkerConnection.ts"
import type { WorkerMetrics } from "../../../services/WorkerMetrics.ts"
import { statusWord } from "../../connection/statusWords.ts"
import * as HealthReadings from "../healthReadings.ts"
import { wordCounter } from "../labelSets.ts"
import { byLabel, counter, gauge } from "../metricFamily.ts"
import type { Figures } from "./figures.ts"

const connectionStatus: Record<WorkerState["_tag"], number> = {
  Connecting: 0,
  Disconnected: 0,
  Connected: 1,
  Reloading: 2
}

/** `now`: monotonic milliseconds. */
export const make = (now: () => number): Figures<WorkerMetrics["Service"]> => {
  const total = { connectionErrors: 0, reconnects: 0, saturated: 0 }
  let state: WorkerState["_tag"] = "Connecting"
  let saturated = false
  const health = HealthReadings.make()
  let healthAt: number | undefined
  const faults = wordCounter(LinkFault.literals)

  const recorder: WorkerMetrics["Service"] = {
    workerState: (next) => {
      state = next._tag
      saturated = next._tag === "Connected" && next.saturatedSince !== undefined
      // What it last said of itself would look like a worker.
      if (next._tag === "Disconnected" || next._tag === "Connecting") health.clear()
    },
    workerConnectionError: (fault) => {
      total.connectionErrors++
      faults.add(fault)
    },
    workerReconnected: () => {
      total.reconnects++
    },
    workerSaturated: () => {
      total.saturated++
    },
    workerHealth: (metrics) => {
      health.set(metrics)
      healthAt = now()
    }
  }

  const families = [
    gauge(
      "sidecar_worker_connection_status",
      "The worker's status: 1 connected, 0 disconnected or connecting, 2 reloading.",
      () => connectionStatus[state]
    ),
    byLabel(
      "gauge",
      "sidecar_worker_status",
      "1 for the worker's status, 0 for every other.",
      "state",
      () => Object.values(statusWord).map((word) => [word, statusWord[state] === word ? 1 : 0] as const)
    ),
    counter(
      "sidecar_worker_connection_errors_total",
      "Failed dials and broken links to the worker.",
      () => total.connectionErrors
    ),
    byLabel("counter", "sidecar_worker_faults_total", "Failed dials and broken links by cause.", "fault", faults.read),
    counter(
      "sidecar_worker_reconnects_total",
      "Times the worker was connected again after it was lost or had asked for a new connection.",
      () => total.reconnects
    ),
    gauge(
      "sidecar_worker_saturated",
      "1 while the worker is saturated: alive, and without a thread to answer Health.",
      () => saturated ? 1 : 0
    ),
    counter(
      "sidecar_worker_saturated_checks_total",
      "Health checks that timed out while frames or an acknowledged PING showed that the worker lives.",
      () => total.saturated
    ),
    byLabel(
      "gauge",
      "sidecar_worker_health",
      "The figures among the worker's own words in Health.",
      "name",
      health.read
    ),
    {
      ...gauge("sidecar_worker_health_age_seconds", "Age of the worker's last answer to Health.", () => 0),
      read: () => healthAt === undefined ? [] : [{ value: (now() - healthAt) / 1000 }]
    }
  ]
  return { recorder, families }
}
