import { Code } from "../../services/Status.ts"
import type { CallEnd, ServerCall } from "../../services/Wire.ts"

/**
 * How long before our own clock's word a call's time may be called over, in milliseconds. A gateway counts from before
 * its headers left, we from when they were read, and gRPC libraries round `grpc-timeout` up (C-core: to 10 ms from one
 * second on): so its RST_STREAM(CANCEL) comes a little before our deadline. Time on the way, never a share of the
 * timeout: whoever cancels earlier has cancelled.
 */
export const DEADLINE_TOLERANCE_MILLIS = 25

/** Monotonic milliseconds at which a call's time is over; `Infinity`: never. */
export const deadlineOf = ({ arrivedAt, timeoutMillis }: Pick<ServerCall, "arrivedAt" | "timeoutMillis">): number =>
  timeoutMillis === undefined || Number.isNaN(timeoutMillis) ? Number.POSITIVE_INFINITY : arrivedAt + timeoutMillis

/** Whether an RST or an answer of the worker's that comes `now` is the deadline's doing. */
export const isTimeOver = (deadlineAt: number, now: number): boolean => now >= deadlineAt - DEADLINE_TOLERANCE_MILLIS

/**
 * Whether the worker's side of a call is over because its caller's time is: the worker was told the deadline, and either
 * says so, or its gRPC library resets the stream (C-core: RST_STREAM CANCEL), which looks like a broken call.
 */
export const isMissedDeadline = (end: CallEnd, deadlineAt: number, now: number): boolean => {
  if (!isTimeOver(deadlineAt, now)) return false
  if (end.reason === "transport") return true
  const { code } = end.status
  return end.reason === "status" && (code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED)
}
