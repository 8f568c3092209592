import { Cause, Context, Data, type Fiber } from "effect"
import type { Departure, Status } from "./Wire.ts"

/**
 * Why the sidecar itself ends or refuses a stream. Each tag has one gRPC status and one stable `cy-reason`, given in one
 * place: `internal/wire/streamStatus.ts`. Plain `Data` classes: they stand on the path of every refused call.
 */
export type StreamError =
  | Draining
  | Killed
  | TooManyStreams
  | TooManyCalls
  | TenantLimited
  | RequestTimeout
  | MetadataTooLarge
  | WorkerUnavailable
  | CircuitOpen
  | HoldFull
  | HoldTimeout
  | QueueFull
  | QueueTimeout
  | DeadlineExceeded
  | GatewayGone
  | Rejected
  | NotAdmitted
  | WorkerLost
  | Truncated
  | StreamIdle
  | SlowReader
  | FrameTooLarge
  | MessageOverdue
  | WorkerStatus
  | Malformed

/** The sidecar takes no new streams, or its drain limit is reached. */
export class Draining extends Data.TaggedError("Draining")<{ readonly delivered: number }> {}

/** An operator has ended this one stream. */
export class Killed extends Data.TaggedError("Killed")<{ readonly delivered: number }> {}

/** `[server] max_concurrent_streams` are in flight. */
export class TooManyStreams extends Data.TaggedError("TooManyStreams")<{ readonly limit: number }> {}

/**
 * The tenant has what it may have (`[tenants]`): so many streams at once, or so many tokens a minute. `retryAfterMillis`: when
 * the next token may be had; `undefined`: when one of its own streams ends.
 */
export class TenantLimited extends Data.TaggedError("TenantLimited")<{
  readonly kind: "streams" | "tokens"
  readonly limit: number
  readonly retryAfterMillis: number | undefined
}> {}

/**
 * Calls that hold no place at the worker have bounds of their own: those that have not sent a whole message yet (`silent`,
 * at most `[server] max_concurrent_streams`), those that the sidecar answers itself (`own`, `[server] max_own_calls`).
 */
export class TooManyCalls extends Data.TaggedError("TooManyCalls")<{
  readonly kind: "own" | "silent"
  readonly limit: number
}> {}

/** No whole request message within `[server] first_message_timeout_secs`. */
export class RequestTimeout extends Data.TaggedError("RequestTimeout")<{ readonly secs: number }> {}

/** More than `[server] max_metadata_bytes` of metadata, counted as HTTP/2 counts. */
export class MetadataTooLarge extends Data.TaggedError("MetadataTooLarge")<{
  readonly bytes: number
  readonly limit: number
}> {}

/** No worker. `retryAfterMillis`: when it makes sense to come back. */
export class WorkerUnavailable extends Data.TaggedError("WorkerUnavailable")<{
  readonly cause: "disconnected" | "reloading" | "unhealthy"
  readonly retryAfterMillis: number
}> {}

/** The circuit breaker is open. */
export class CircuitOpen extends Data.TaggedError("CircuitOpen")<{ readonly retryAfterMillis: number }> {}

/** `[reload] max_held_streams` or `max_held_bytes` is reached. */
export class HoldFull extends Data.TaggedError("HoldFull")<{ readonly retryAfterMillis: number }> {}

/** Held for `[reload] hold_timeout_secs` and still no worker. */
export class HoldTimeout extends Data.TaggedError("HoldTimeout")<{
  readonly heldMillis: number
  readonly retryAfterMillis: number
}> {}

/** `[server] max_queued_streams` wait for a place at the worker. */
export class QueueFull extends Data.TaggedError("QueueFull")<{ readonly retryAfterMillis: number }> {}

/** No place at the worker came free within `[server] queue_timeout_secs`. */
export class QueueTimeout extends Data.TaggedError("QueueTimeout")<{
  readonly queuedMillis: number
  readonly retryAfterMillis: number
}> {}

/** The caller's own deadline passed. */
export class DeadlineExceeded extends Data.TaggedError("DeadlineExceeded")<{ readonly delivered: number }> {}

/** The gateway cancelled, or its connection is gone. */
export class GatewayGone extends Data.TaggedError("GatewayGone")<{
  readonly departure: Departure
}> {}

/** The server itself has answered the request, with this: it is not gRPC, or too large. */
export class Rejected extends Data.TaggedError("Rejected")<{ readonly status: Status }> {}

/** A hook of the application has not let the stream in. */
export class NotAdmitted extends Data.TaggedError("NotAdmitted")<{ readonly status: Status }> {}

/**
 * The link to the worker broke, or the worker has stopped, and the stream cannot be sent again. `delivered`: token chunks
 * the gateway has. `status`: what a worker that stopped politely said.
 */
export class WorkerLost extends Data.TaggedError("WorkerLost")<{
  readonly delivered: number
  readonly retryAfterMillis: number
  readonly status?: Status | undefined
}> {}

/** The worker said OK without `end_of_stream` (`truncated`), or without any frame (`empty_stream`). */
export class Truncated extends Data.TaggedError("Truncated")<{
  readonly kind: "truncated" | "empty_stream"
  readonly delivered: number
}> {}

/** No first token, or no frame after it, for too long. */
export class StreamIdle extends Data.TaggedError("StreamIdle")<{
  readonly phase: "first_token" | "idle"
  readonly idleSecs: number
  readonly delivered: number
}> {}

/** The gateway read nothing for `[server] slow_reader_timeout_secs` while frames waited. */
export class SlowReader extends Data.TaggedError("SlowReader")<{ readonly delivered: number }> {}

/** A frame announces more than `[server] max_message_bytes`. */
export class FrameTooLarge extends Data.TaggedError("FrameTooLarge")<{
  readonly side: "request" | "response"
  readonly bytes: number
  readonly limit: number
}> {}

/** A message has begun and was not whole for long, while others waited for the memory that it takes. */
export class MessageOverdue extends Data.TaggedError("MessageOverdue")<{ readonly side: "request" | "response" }> {}

/** The worker's own, non-OK answer: carried through unchanged. */
export class WorkerStatus extends Data.TaggedError("WorkerStatus")<{ readonly status: Status }> {}

/** The gateway's bytes are not gRPC: half a frame before its half-close. */
export class Malformed extends Data.TaggedError("Malformed")<{ readonly detail: string }> {}

/** With what the fiber of a call was interrupted. */
class EndedBy extends Context.Service<EndedBy, StreamError>()("cy-llm-sidecar/EndedBy") {}

/** Ends a call from outside: the one way for a departure, a time limit, a drain, an operator. The first reason counts. */
export const interruptWith = (fiber: Fiber.Fiber<unknown, unknown>, error: StreamError): void =>
  fiber.interruptUnsafe(undefined, Context.make(EndedBy, error))

/** Why a call is over: the reason of its interruption, or its own failure; `undefined`: ended without a word. */
export const errorOf = (cause: Cause.Cause<StreamError>): StreamError | undefined => {
  for (const reason of cause.reasons) {
    const error = Cause.isFailReason(reason)
      ? reason.error
      : Context.getOrUndefined(Cause.reasonAnnotations(reason), EndedBy)
    if (error !== undefined) return error
  }
  return undefined
}
