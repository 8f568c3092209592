/**
 * The words both sides of the wire share. Nothing here knows HTTP/2, grpc-js or Node.
 *
 * A stream of frames is handed over *synchronously*, batch by batch, through the two listener interfaces below: in the
 * steady case a batch costs one call and no fiber is woken. Fibers own the life of a stream (its start, end, failure
 * and cancellation).
 */

/**
 * One or more **whole** gRPC messages exactly as they came, each with its 5-byte prefix (compressed flag, big-endian
 * length; gRPC over HTTP/2, "Length-Prefixed-Message"). What arrived together is one batch. Never decoded and
 * re-encoded, never empty, never mutated after it was handed over.
 */
export type FrameBatch = Uint8Array

/** Where {@link Metadata} says which of its keys came marked "never indexed". */
export const neverIndexed: unique symbol = Symbol("neverIndexed")

/**
 * gRPC metadata in the shape it has on the wire: lower-case keys, `-bin` values in base64. A key that occurs more than
 * once has an array.
 */
export interface Metadata {
  readonly [key: string]: string | ReadonlyArray<string> | undefined
  /**
   * Keys whose sender wants them in no compression table, here or further on: whoever forwards them has to keep the mark
   * (RFC 7541 §6.2.3). Absent where there are none, which is the rule.
   */
  readonly [neverIndexed]?: ReadonlySet<string> | undefined
}

/** The empty metadata. */
export const noMetadata: Metadata = Object.freeze({})

/**
 * How a call ended.
 *
 * - `code`, `message`: `grpc-status` (0–16) and the percent-decoded `grpc-message`.
 * - `metadata`: trailers without `grpc-status` and `grpc-message`; `grpc-status-details-bin` is among them.
 */
export interface Status {
  readonly code: number
  readonly message: string
  readonly metadata: Metadata
}

/**
 * Why the worker's side of a call is over.
 *
 * - `status`: the worker (its gRPC library, at least) said so in trailers.
 * - `transport`: the link or the HTTP/2 stream broke under the call; `status` holds the code the break maps to. The
 *   worker had not answered with trailers.
 * - `refused`: like `transport`, and it is certain that the worker has not seen the call (it never left, GOAWAY below
 *   our stream, RST_STREAM REFUSED_STREAM).
 */
export interface CallEnd {
  readonly reason: "status" | "transport" | "refused"
  readonly status: Status
}

/** What a caller of the worker hears. Called on the event loop, in this order: headers?, frames*, end. */
export interface ReplyListener {
  /** Initial metadata; at most once, not for a Trailers-Only answer. */
  onHeaders(metadata: Metadata): void
  /**
   * Whole frames. `false` means full: the call reads no further until {@link WorkerCall.resume}; batches that had
   * already been cut may still follow.
   */
  onFrames(batch: FrameBatch): boolean
  /** Exactly once, after every frame that came before it was handed over; never after {@link WorkerCall.cancel}. */
  onEnd(end: CallEnd): void
  /** The request side takes frames again after {@link WorkerCall.write} had answered `false`. */
  onDrain(): void
}

/** A call to the worker, seen from the side that makes it. */
export interface WorkerCall {
  /** Sends whole frames. `false` means full: wait for {@link ReplyListener.onDrain}. Ignored after the end. */
  write(batch: FrameBatch): boolean
  /** No more request frames. */
  halfClose(): void
  /** Read on, after `onFrames` had answered `false`. */
  resume(): void
  /** Cancels the call (RST_STREAM CANCEL). Idempotent; afterwards the listener hears nothing more. */
  cancel(): void
}

/** What a new call to the worker needs. */
export interface CallStart {
  /** `/package.Service/Method`. */
  readonly path: string
  /** Already filtered and within the budget (`internal/wire/metadata.ts`); the wire adds only its own keys. */
  readonly metadata: Metadata
  /** Remaining time in milliseconds, sent as `grpc-timeout`; `undefined`: no deadline. Enforced by the caller. */
  readonly timeoutMillis: number | undefined
  /** `grpc-encoding` of the request frames when the gateway compressed them. */
  readonly encoding?: string | undefined
}

/**
 * Why the gateway's side of a call is gone before its handler ended it: RST_STREAM, its connection is gone, or the
 * server itself has answered a request that is not gRPC or too large.
 */
export type Departure = "cancelled" | "vanished" | "rejected"

/** What the handler of a gateway's call hears. Called on the event loop. */
export interface RequestListener {
  /** Whole request frames. `false` means full: nothing more is read until {@link ServerCall.resume}. */
  onFrames(batch: FrameBatch): boolean
  /** The gateway will send no more requests. */
  onHalfClose(): void
  /** The reply side takes frames again after {@link ServerCall.write} had answered `false`. */
  onDrain(): void
  /**
   * RST_STREAM from the gateway, or its connection is gone. At most once; not after {@link ServerCall.end}. `answered`:
   * what a rejected request was answered with.
   */
  onDeparture(departure: Departure, answered?: Status): void
}

/** A gateway's call, seen from the side that answers it. */
export interface ServerCall {
  /** `/package.Service/Method`. */
  readonly path: string
  /** Everything the gateway sent, unfiltered, without pseudo-headers. */
  readonly metadata: Metadata
  /** `grpc-timeout` in milliseconds; `undefined`: no deadline. Counted from `arrivedAt`. */
  readonly timeoutMillis: number | undefined
  /** Monotonic milliseconds at which the request's headers came: the beginning of the turn in which they were read. */
  readonly arrivedAt: number
  /** `grpc-encoding` of the request frames, unless identity. */
  readonly encoding: string | undefined
  /** Who calls: only a trusted peer may steer the sidecar (`sidecar.*` control commands). */
  readonly peer: { readonly address: string; readonly trusted: boolean }
  /**
   * Replies are to come one by one, each when there is room: a caller that takes them so is to be counted so. Default: as
   * they arrived, in batches.
   */
  readonly takesSingleFrames?: boolean | undefined
  /** Attaches the listener and starts to read. Called once. What came before is delivered synchronously. */
  start(listener: RequestListener): void
  /** Read on, after `onFrames` had answered `false`. */
  resume(): void
  /** Sends initial metadata now; otherwise they leave with the first frame. `encoding`: that of the reply frames. */
  sendHeaders(metadata: Metadata, encoding?: string): void
  /** Sends whole frames. `false` means full: wait for {@link RequestListener.onDrain}. Ignored after the end. */
  write(batch: FrameBatch): boolean
  /** Bytes handed to {@link write} that the gateway's window has not yet taken. */
  readonly pendingBytes: number
  /**
   * Ends the call: trailers, or Trailers-Only when nothing was sent yet. `"flush"` lets written frames leave first;
   * `"now"` gives up frames that the gateway does not take and closes the HTTP/2 stream with the code the status maps
   * to if trailers cannot leave. Idempotent: the first end wins.
   */
  end(status: Status, delivery?: "flush" | "now"): void
}
