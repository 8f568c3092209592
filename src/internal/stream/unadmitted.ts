import type { CallMetrics } from "../../services/CallMetrics.ts"
import type { StreamError } from "../../services/StreamError.ts"
import type { StreamReports } from "../../services/StreamReports.ts"
import type { Outcome } from "../../services/UsageRecord.ts"
import type { ServerCall, Status } from "../../services/Wire.ts"
import { outcomeOf, reasonOf, statusOf } from "../wire/streamStatus.ts"
import { reportOf } from "./streamReport.ts"

/** A call that is turned away at the door was refused, whatever the same error is to a stream that ran. */
const outcomeAtTheDoor = (error: StreamError): Outcome => error._tag === "Draining" ? "refused" : outcomeOf(error)

/** How a stream ended that had no record. */
export interface UnadmittedEnd {
  readonly outcome: Outcome
  readonly grpcStatus: number
  readonly status: Status
}

/** Ends calls that never became a stream at the worker, and counts them. */
export interface Unadmitted {
  /** A call of any method. */
  readonly refuse: (call: ServerCall, error: StreamError, delivery?: "flush" | "now") => void
  /** A call of any method that the server has answered already. */
  readonly rejected: (call: ServerCall, status: Status) => void
  /** {@link refuse} for a stream that had been counted as started. */
  readonly endStream: (call: ServerCall, error: StreamError) => UnadmittedEnd
}

/** `now`: monotonic milliseconds. */
export const unadmitted = (
  calls: CallMetrics["Service"],
  reports: StreamReports["Service"],
  now: () => number
): Unadmitted => {
  const turnAway = (call: ServerCall, error: StreamError, delivery: "flush" | "now"): Status => {
    const status = statusOf(error)
    call.end(status, delivery)
    if (error._tag === "MetadataTooLarge") calls.metadataRejected()
    return status
  }
  const ended = (call: ServerCall, outcome: Outcome, status: Status): UnadmittedEnd => {
    reports.tell(reportOf(call, undefined, { outcome, status, at: now(), queuedMillis: 0 }))
    return { outcome, grpcStatus: status.code, status }
  }
  return {
    refuse: (call, error, delivery = "flush") => {
      const status = turnAway(call, error, delivery)
      calls.handled(call.path, status.code)
      if (outcomeAtTheDoor(error) === "refused") calls.refused(reasonOf(status))
    },
    rejected: (call, status) => {
      calls.handled(call.path, status.code)
      // Without a word of ours it is the caller's fault: what came was no call.
      const reason = reasonOf(status)
      if (reason !== "") calls.refused(reason)
    },
    endStream: (call, error) => {
      const late = error._tag === "DeadlineExceeded" || error._tag === "RequestTimeout"
      return ended(call, outcomeAtTheDoor(error), turnAway(call, error, late ? "now" : "flush"))
    }
  }
}
