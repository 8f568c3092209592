import { type Cause, Data, type Effect, type Pull } from "effect"

/**
 * The words both sides of the wire share. Nothing here knows HTTP/2, grpc-js or Node.
 *
 * Both sides of a call are pulled: a batch of frames wakes the fiber that waits for it in the turn in which it came, and what
 * nobody pulls is not read. A fiber owns a call; a gateway that leaves interrupts the one that answers it, with the reason
 * (`StreamError`'s `interruptWith`).
 */

/**
 * One or more **whole** gRPC messages exactly as they came, each with its 5-byte prefix (compressed flag, big-endian
 * length; gRPC over HTTP/2, "Length-Prefixed-Message"). What arrived together is one batch. Never decoded and
 * re-encoded, never empty, never mutated after it was handed over.
 */
export type FrameBatch = Uint8Array

/**
 * An object that a stream's tokens pass. Whoever knows that they come may look at what they will need, for many streams at
 * once: with thousands of them it is in no cache.
 */
export interface Waypoint {
  /** Where they go from here; to be asked at any time, and changes nothing. `undefined`: not known, or no further. */
  readonly ahead?: Waypoint | undefined
}

/** Takes batches as they come. An object, since with thousands of streams each one on the way of a token is a cache miss. */
export interface FrameTaker extends Waypoint {
  /** `false`: it takes no more for now; this batch it has taken. */
  take(batch: FrameBatch): boolean
}

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

/** A call broke without the worker's word. `refused`: it is certain that the worker has not seen it. */
export class CallBroken extends Data.TaggedError("CallBroken")<{
  readonly reason: "transport" | "refused"
  /** What the break maps to. */
  readonly status: Status
}> {}

/**
 * A call to the worker, seen from the side that made it. It lives in the scope in which it was opened: closing that is
 * RST_STREAM CANCEL.
 */
export interface WorkerCall {
  /** Sends whole frames. `false` means full: wait for {@link writable}. Ignored after the end. */
  write(batch: FrameBatch): boolean
  /** No more request frames. */
  halfClose(): void
  /** Completes when frames are taken again, or the call is over. */
  readonly writable: Effect.Effect<void>
  /** Completes with the initial metadata; with `undefined` when the worker answers, or the call breaks, without. */
  readonly headers: Effect.Effect<Metadata | undefined>
  /**
   * The next batch of replies. Not pulling is backpressure, down to the HTTP/2 window. It is done with the worker's status,
   * after every frame that came before it, and fails when the call broke. One puller at a time.
   */
  readonly replies: Pull.Pull<readonly [FrameBatch], CallBroken, Status>
  /**
   * Hands each batch of {@link replies} to `taker` in the turn in which it comes; completes when that has answered `false`
   * and takes no more for now. For whoever has nothing to wait for between two batches: no fiber is woken for one, which
   * would cost more than the token.
   */
  takeWhile(taker: FrameTaker): Effect.Effect<void, CallBroken | Cause.Done<Status>>
  /** Calls back with the initial metadata, at once when it is there; not for an answer without. One listener. */
  whenHeaders(callback: (metadata: Metadata) => void): void
  /** {@link replies} has nothing left but its end. */
  readonly isOver: boolean
  /** Completes when {@link isOver}. */
  readonly over: Effect.Effect<void>
}

/** What a new call to the worker needs. */
export interface CallStart {
  /** `/package.Service/Method`. */
  readonly path: string
  /** Already filtered and within the budget (`internal/wire/metadata.ts`); the wire adds only its own keys. */
  readonly metadata: Metadata
  /**
   * Remaining time in milliseconds, sent as `grpc-timeout`; `undefined`: no deadline. Read when the call is opened, so it may
   * be a getter. Enforced by the caller.
   */
  readonly timeoutMillis: number | undefined
  /** `grpc-encoding` of the request frames when the gateway compressed them. */
  readonly encoding?: string | undefined
}

/** Why the gateway's side of a call is gone before its handler ended it: RST_STREAM, or its connection is gone. */
export type Departure = "cancelled" | "vanished"

/**
 * A gateway's call, seen from the side that answers it. When the gateway leaves, the fiber of its handler is interrupted with
 * `GatewayGone`; with `Rejected` when the server itself has answered a request that is not gRPC, or too large.
 */
export interface ServerCall extends Waypoint {
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
  /**
   * The next batch of requests; not pulling is backpressure. It is done when the gateway has half-closed. One puller at a
   * time. Nothing is read before the first pull, or {@link ready}.
   */
  readonly requests: Pull.Pull<readonly [FrameBatch]>
  /** Begins to read. Whether {@link requests} would give something at once. */
  ready(): boolean
  /** The gateway has half-closed, and every request of its was pulled. */
  readonly isHalfClosed: boolean
  /** Sends initial metadata now; otherwise they leave with the first frame. `encoding`: that of the reply frames. */
  sendHeaders(metadata: Metadata, encoding?: string): void
  /** Sends whole frames. `false` means full: wait for {@link writable}. Ignored after the end. */
  write(batch: FrameBatch): boolean
  /** Completes when frames are taken again. */
  readonly writable: Effect.Effect<void>
  /** Bytes handed to {@link write} that the gateway's window has not yet taken. */
  readonly pendingBytes: number
  /**
   * Ends the call: trailers, or Trailers-Only when nothing was sent yet. `"flush"` lets written frames leave first;
   * `"now"` gives up frames that the gateway does not take and closes the HTTP/2 stream with the code the status maps
   * to if trailers cannot leave. Idempotent: the first end wins.
   */
  end(status: Status, delivery?: "flush" | "now"): void
}
