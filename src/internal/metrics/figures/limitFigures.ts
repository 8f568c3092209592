import type { LimitMetrics } from "../../../services/LimitMetrics.ts"
import { LimitName } from "../../../services/Limits.ts"
import { wordCounter } from "../labelSets.ts"
import { byLabel, gauge } from "../metricFamily.ts"
import type { Figures } from "./figures.ts"

export const make = (): Figures<LimitMetrics["Service"]> => {
  let unfinished = 0
  let configured: Readonly<Record<string, number>> = {}
  const limits = wordCounter(LimitName.literals)
  const opsLimits = wordCounter(["connections", "pipelined"])

  const recorder: LimitMetrics["Service"] = {
    limitReached: limits.add,
    unfinishedBytes: (bytes) => {
      unfinished = bytes
    },
    limits: (inForce) => {
      configured = inForce
    },
    opsLimited: opsLimits.add
  }

  const families = [
    byLabel(
      "gauge",
      "sidecar_limit",
      "The bounds that are in force, by the name of their key; no series: no bound.",
      "name",
      () => Object.entries(configured)
    ),
    byLabel(
      "counter",
      "sidecar_limits_total",
      "Times that a bound of what a peer may take was reached.",
      "limit",
      limits.read
    ),
    gauge(
      "sidecar_unfinished_bytes",
      "Bytes of messages that have begun and are not whole, over all calls.",
      () => unfinished
    ),
    byLabel(
      "counter",
      "sidecar_ops_limits_total",
      "Connections of the metrics server that were closed, by the limit that they had reached.",
      "limit",
      opsLimits.read
    )
  ]
  return { recorder, families }
}
