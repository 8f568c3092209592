import { Code } from "../../services/Status.ts"
import { DeadlineExceeded, type StreamError } from "../../services/StreamError.ts"
import type { CallEnd, ServerCall } from "../../services/Wire.ts"

/**
 * How long before our own clock's word a call's time may be called over, in milliseconds. A gateway counts from before
 * its headers left, we from when they were read, and gRPC libraries round `grpc-timeout` up (C-core: to 10 ms from one
 * second on): so its RST_STREAM(CANCEL) comes a little before our deadline. Time on the way, on a busy machine, and never
 * a share of the timeout: whoever cancels earlier has cancelled.
 */
const TOLERANCE_MILLIS = 100
/** A very short call can be cancelled, too: for it the tolerance is no more than this part of its time. */
const MOST_OF_THE_TIME = 1 / 3

type Timed = Pick<ServerCall, "arrivedAt" | "timeoutMillis">

const hasDeadline = (timeoutMillis: number | undefined): timeoutMillis is number =>
  timeoutMillis !== undefined && !Number.isNaN(timeoutMillis)

/** Monotonic milliseconds at which a call's time is over; `Infinity`: never. */
export const deadlineOf = ({ arrivedAt, timeoutMillis }: Timed): number =>
  hasDeadline(timeoutMillis) ? arrivedAt + timeoutMillis : Number.POSITIVE_INFINITY

/** Monotonic milliseconds from which on an RST, or an answer of the worker's, is the deadline's doing. */
export const missedFrom = (call: Timed): number =>
  hasDeadline(call.timeoutMillis)
    ? deadlineOf(call) - Math.min(TOLERANCE_MILLIS, call.timeoutMillis * MOST_OF_THE_TIME)
    : Number.POSITIVE_INFINITY

/** What the end of a call from outside is to be called: an RST when its time is over is the deadline's doing. */
export const atDeadline = (call: Timed, error: StreamError, delivered: number, now: number): StreamError =>
  error._tag === "GatewayGone" && now >= missedFrom(call) ? new DeadlineExceeded({ delivered }) : error

/**
 * Whether the worker's side of a call is over because its caller's time is: the worker was told the deadline, and either
 * says so, or its gRPC library resets the stream (C-core: RST_STREAM CANCEL), which looks like a broken call.
 */
export const isMissedDeadline = (end: CallEnd): boolean => {
  if (end.reason === "transport") return true
  const { code } = end.status
  return end.reason === "status" && (code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED)
}
