import * as Status from "../../services/Status.ts"
import type { StreamError, WorkerLost } from "../../services/StreamError.ts"
import type { Outcome } from "../../services/UsageRecord.ts"
import { type Metadata, noMetadata, type Status as GrpcStatus } from "../../services/Wire.ts"
import { comeBackIn, counted, lasting } from "../words.ts"
import { first } from "./metadata.ts"
import { Writer } from "./protobuf.ts"

/**
 * The one place where the sidecar's own refusals and failures become gRPC statuses. `cy-reason` is stable: gateways may
 * switch on it.
 */

const { Code } = Status

const base64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes)).replace(/=+$/, "")

/** `google.rpc.Status` with `RetryInfo` and `ErrorInfo`, as client libraries read it from `grpc-status-details-bin`. */
const details = (code: number, message: string, reason: string, retryMillis: number): string => {
  const any = (type: string, value: Writer) =>
    new Writer().string(1, `type.googleapis.com/google.rpc.${type}`).message(2, value)
  const duration = new Writer()
  const seconds = Math.floor(retryMillis / 1000)
  if (seconds > 0) duration.varint(1, seconds)
  if (retryMillis % 1000 > 0) duration.varint(2, (retryMillis % 1000) * 1_000_000)
  return base64(
    new Writer().varint(1, code).string(2, message)
      .message(3, any("RetryInfo", new Writer().message(1, duration)))
      .message(3, any("ErrorInfo", new Writer().string(1, reason).string(2, "cy-llm-sidecar")))
      .finish()
  )
}

const refusal = (code: number, message: string, reason: string, retryAfterMillis?: number): GrpcStatus => {
  if (retryAfterMillis === undefined) return Status.make(code, message, { "cy-reason": reason })
  const millis = Math.max(1, Math.round(retryAfterMillis))
  return Status.make(code, message, {
    "cy-reason": reason,
    "grpc-retry-pushback-ms": String(millis),
    "grpc-status-details-bin": details(code, message, reason, millis)
  })
}

const broken = (code: number, message: string, reason: string, delivered: number, extra: Metadata = noMetadata) =>
  Status.make(code, message, { "cy-reason": reason, "cy-chunks-delivered": String(delivered), ...extra })

/** What the gateway's user has seen must not be asked for again; before the first token it may. */
const lost = ({ delivered, retryAfterMillis, status }: WorkerLost): GrpcStatus => {
  const code = status?.code ?? Code.UNAVAILABLE
  const message = status?.message ?? `Worker connection lost after ${counted(delivered, "token")}`
  const told = delivered > 0
    ? broken(code, message, "worker_lost", delivered, { "cy-safe-to-retry": "false" })
    : refusal(code, message, "worker_lost", retryAfterMillis)
  const counts: Metadata = delivered > 0 ? noMetadata : { "cy-chunks-delivered": "0", "cy-safe-to-retry": "true" }
  return { ...told, metadata: { ...status?.metadata, ...told.metadata, ...counts } }
}

/** The status a gateway sees for an end that the sidecar decided. */
export const statusOf = (error: StreamError): GrpcStatus => {
  switch (error._tag) {
    case "WorkerStatus":
    case "Rejected":
    case "NotAdmitted":
      return error.status
    case "Draining":
      return error.delivered === 0
        ? refusal(Code.UNAVAILABLE, "Sidecar is draining, please retry elsewhere", "draining", 1000)
        : broken(Code.UNAVAILABLE, "Sidecar is shutting down", "draining", error.delivered, {
          "cy-safe-to-retry": "false"
        })
    case "Killed":
      return broken(Code.ABORTED, "Ended by the operator", "killed", error.delivered, {
        "cy-safe-to-retry": String(error.delivered === 0)
      })
    case "TooManyStreams":
      return refusal(
        Code.RESOURCE_EXHAUSTED,
        `More than ${counted(error.limit, "stream")} in flight`,
        "too_many_streams",
        1000
      )
    case "TooManyCalls":
      return refusal(
        Code.RESOURCE_EXHAUSTED,
        error.kind === "own"
          ? `More than ${error.limit} calls to the sidecar itself`
          : `More than ${error.limit} calls without a request`,
        "too_many_calls",
        1000
      )
    case "TenantLimited":
      return refusal(
        Code.RESOURCE_EXHAUSTED,
        error.kind === "streams"
          ? `The tenant has ${counted(error.limit, "stream")} in flight, which is its limit`
          : `The tenant has used up its ${counted(error.limit, "token")} a minute`,
        "tenant_limit",
        error.retryAfterMillis ?? 1000
      )
    case "RequestTimeout":
      return Status.make(Code.CANCELLED, `No whole request message within ${error.secs}s`, {
        "cy-reason": "request_timeout"
      })
    case "MetadataTooLarge":
      return refusal(
        Code.RESOURCE_EXHAUSTED,
        `metadata too large: ${error.bytes} bytes, the limit is ${error.limit}`,
        "metadata_too_large"
      )
    case "WorkerUnavailable":
      return refusal(
        Code.UNAVAILABLE,
        `Worker is restarting, please retry in ${comeBackIn(error.retryAfterMillis)}`,
        `worker_${error.cause}`,
        error.retryAfterMillis
      )
    case "CircuitOpen":
      return refusal(
        Code.UNAVAILABLE,
        `Worker keeps failing, please retry in ${comeBackIn(error.retryAfterMillis)}`,
        "circuit_open",
        error.retryAfterMillis
      )
    case "HoldFull":
      return refusal(
        Code.RESOURCE_EXHAUSTED,
        `Worker is reloading and too many streams wait for it, please retry in ${comeBackIn(error.retryAfterMillis)}`,
        "hold_full",
        error.retryAfterMillis
      )
    case "HoldTimeout":
      return refusal(
        Code.UNAVAILABLE,
        `Worker did not come back within ${lasting(error.heldMillis)}`,
        "hold_timeout",
        error.retryAfterMillis
      )
    case "QueueFull":
      return refusal(
        Code.RESOURCE_EXHAUSTED,
        `Worker is busy and too many streams wait for it, please retry in ${comeBackIn(error.retryAfterMillis)}`,
        "queue_full",
        error.retryAfterMillis
      )
    case "QueueTimeout":
      return refusal(
        Code.UNAVAILABLE,
        `No place at the worker came free within ${lasting(error.queuedMillis)}`,
        "queue_timeout",
        error.retryAfterMillis
      )
    case "DeadlineExceeded":
      return broken(Code.DEADLINE_EXCEEDED, "Deadline exceeded", "deadline", error.delivered)
    case "GatewayGone":
      return Status.make(Code.CANCELLED, "Cancelled by the gateway", { "cy-reason": "cancelled" })
    case "WorkerLost":
      return lost(error)
    case "Truncated":
      return broken(
        Code.DATA_LOSS,
        error.kind === "truncated"
          ? `Worker ended without end_of_stream after ${counted(error.delivered, "token")}`
          : "Worker ended without an answer",
        error.kind,
        error.delivered
      )
    case "StreamIdle":
      return broken(
        Code.UNAVAILABLE,
        error.phase === "first_token"
          ? `stream idle: no token within ${error.idleSecs}s`
          : `stream idle: nothing from the worker for ${error.idleSecs}s`,
        "stream_idle",
        error.delivered
      )
    case "SlowReader":
      return broken(Code.CANCELLED, "Gateway does not read its stream", "slow_reader", error.delivered)
    case "FrameTooLarge":
      return refusal(
        Code.RESOURCE_EXHAUSTED,
        `A ${error.side} message of ${error.bytes} bytes exceeds the limit of ${error.limit}`,
        "message_too_large"
      )
    case "MessageOverdue":
      return refusal(
        Code.RESOURCE_EXHAUSTED,
        `A ${error.side} message was not whole in time, and others wait for its memory`,
        "message_overdue"
      )
    case "Malformed":
      return refusal(Code.INTERNAL, error.detail, "malformed")
  }
}

/** The `cy-reason` that goes out with a status; empty when it has none. */
export const reasonOf = (status: GrpcStatus): string => first(status.metadata, "cy-reason") ?? ""

/** The outcome under which an end is metered (docs/design.md §6, §7). */
export const outcomeOf = (error: StreamError): Outcome => {
  switch (error._tag) {
    case "WorkerStatus":
    case "Rejected":
    case "FrameTooLarge":
    case "MessageOverdue":
    case "Malformed":
      return "failed"
    case "DeadlineExceeded":
      return "deadline"
    case "GatewayGone":
      return "cancelled"
    case "WorkerLost":
      return "worker_lost"
    case "Truncated":
      return "truncated"
    case "StreamIdle":
      return "timeout"
    case "SlowReader":
      return "slow_reader"
    case "Draining":
    case "Killed":
      return "drained"
    default:
      return "refused"
  }
}
