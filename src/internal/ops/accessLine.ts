import type { LogFields } from "../../services/LogLines.ts"
import type { StreamReport } from "../../services/StreamReports.ts"

/** Ends that need nobody's attention one by one: they are as their caller or the sidecar's limits wanted them. */
const ordinary: ReadonlySet<StreamReport["outcome"]> = new Set(["completed", "cancelled", "refused"])

/** Whether an operator should see this end among many. */
export const isOrdinary = ({ outcome }: StreamReport): boolean => ordinary.has(outcome)

/** The message of every line of the access log. */
export const ACCESS_MESSAGE = "stream ended"

/** The fields of an access line (docs/operations.md). Durations are whole milliseconds. */
export const accessFields = (report: StreamReport): LogFields => ({
  outcome: report.outcome,
  reason: report.reason === "" ? null : report.reason,
  grpc_status: report.code,
  model_id: report.model,
  tenant: report.tenant,
  tokens: report.tokens,
  bytes: report.bytes,
  ttft_ms: report.ttftMillis === undefined ? null : Math.round(report.ttftMillis),
  held_ms: Math.round(report.heldMillis),
  queued_ms: Math.round(report.queuedMillis),
  duration_ms: Math.round(report.durationMillis),
  replays: report.replays,
  peer: report.peer,
  trace_id: report.traceId,
  record_id: report.recordId ?? null
})
