import type { StreamReport } from "../../services/StreamReports.ts"
import { tokensOf, type UsageTally } from "../../services/UsageMeter.ts"
import type { Outcome } from "../../services/UsageRecord.ts"
import type { ServerCall, Status } from "../../services/Wire.ts"
import { reasonOf } from "../wire/streamStatus.ts"

/** How a call ended, as its gateway was told. */
export interface ToldEnd {
  readonly outcome: Outcome
  readonly status: Status
  /** Monotonic milliseconds. */
  readonly at: number
  /** Of the time that it waited, what it waited for a place at the worker. */
  readonly queuedMillis: number
  /** The trace in which it is exported, if it is. */
  readonly exportedTraceId?: string | undefined
}

/** What is known of a call at its end. `tally`: that of a stream; a call that was refused before has none. */
export const reportOf = (call: ServerCall, tally: UsageTally | undefined, end: ToldEnd): StreamReport => {
  const identity = tally?.identity
  return {
    outcome: end.outcome,
    reason: reasonOf(end.status),
    code: end.status.code,
    path: call.path,
    recordId: tally?.recordId,
    traceId: identity?.traceId ?? "",
    exportedTraceId: end.exportedTraceId,
    model: identity?.modelId ?? "",
    adapter: identity?.adapter ?? "",
    tenant: identity?.tenant ?? "",
    playerId: identity?.playerId ?? "",
    peer: call.peer.address,
    tokens: tally === undefined ? 0 : tokensOf(tally),
    bytes: tally?.bytes ?? 0,
    ttftMillis: tally?.ttftMillis,
    heldMillis: (tally?.heldMillis ?? 0) - end.queuedMillis,
    queuedMillis: end.queuedMillis,
    durationMillis: Math.max(0, end.at - call.arrivedAt),
    replays: tally?.replays ?? 0
  }
}
