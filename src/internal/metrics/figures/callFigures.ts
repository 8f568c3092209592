import type { CallMetrics } from "../../../services/CallMetrics.ts"
import { handledCounter, wordCounter } from "../labelSets.ts"
import { byLabel, counter } from "../metricFamily.ts"
import type { Figures } from "./figures.ts"

/** The words with which the sidecar turns a call away; those of an application's hooks come to them, then "other". */
export const refusalReasons = [
  "draining",
  "too_many_streams",
  "too_many_calls",
  "tenant_limit",
  "request_timeout",
  "metadata_too_large",
  "worker_disconnected",
  "worker_reloading",
  "worker_unhealthy",
  "circuit_open",
  "hold_full",
  "hold_timeout",
  "queue_full",
  "queue_timeout",
  "message_too_large",
  "message_overdue",
  "malformed",
  "hook_failed"
]

export const make = (): Figures<CallMetrics["Service"]> => {
  const handled = handledCounter()
  const calls = wordCounter(["own", "carried", "silent"])
  const refusals = wordCounter(refusalReasons)
  let metadataRejected = 0

  const recorder: CallMetrics["Service"] = {
    handled: handled.add,
    openCalls: calls.set,
    refused: refusals.add,
    metadataRejected: () => {
      metadataRejected++
    }
  }

  const families: Figures<unknown>["families"] = [
    {
      type: "counter",
      name: "sidecar_grpc_handled_total",
      help: "gRPC calls that ended, by method and status.",
      labelNames: ["method", "code"],
      read: handled.read
    },
    byLabel(
      "gauge",
      "sidecar_open_calls",
      "Open calls that hold no place at the worker's streams, by kind.",
      "kind",
      calls.read
    ),
    byLabel(
      "counter",
      "sidecar_refusals_total",
      "Calls that the sidecar turned away, by the cy-reason that it gave.",
      "reason",
      refusals.read
    ),
    counter(
      "sidecar_metadata_rejected_total",
      "Calls or metadata keys that were kept from the worker.",
      () => metadataRejected
    )
  ]
  return { recorder, families }
}
