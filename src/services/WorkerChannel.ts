import { Context, type Effect, Schema, type Scope, type Stream } from "effect"
import type { CallStart, WorkerCall } from "./Wire.ts"

/**
 * What stands in the way of a worker, told apart because each has its own remedy.
 *
 * - `SocketMissing` (ENOENT), `ConnectionRefused` (a stale socket file: nobody listens), `PermissionDenied` (EACCES),
 *   `NotASocket`, `PathTooLong` (over 107 bytes), `ForeignSocket` (it belongs to a user who is not trusted): found before
 *   a byte was exchanged; of a TCP address `HostUnknown`, `HostUnreachable`, and `ConnectionRefused`: nobody listens;
 * - `NotGrpc`: somebody answers, but not gRPC; `DialTimeout`: accepted and never answered;
 * - `LinkBroken`: the transport closed or failed, GOAWAY with an error among it; `GoingAway`: the worker sent GOAWAY
 *   NO_ERROR, which means "a new connection, please" (RFC 9113 §6.8).
 */
export const LinkFault = Schema.Literals([
  "SocketMissing",
  "ConnectionRefused",
  "PermissionDenied",
  "NotASocket",
  "PathTooLong",
  "ForeignSocket",
  "HostUnknown",
  "HostUnreachable",
  "NotGrpc",
  "DialTimeout",
  "LinkBroken",
  "GoingAway"
])
export type LinkFault = typeof LinkFault.Type

/** The worker cannot be reached, or can no longer be. `detail` may name the path: for logs, never for gateways. */
export class LinkError extends Schema.TaggedError<LinkError>()("LinkError", {
  fault: LinkFault,
  detail: Schema.String
}) {
  override get message(): string {
    return this.detail
  }
}

/** One live transport to the worker. */
export interface WorkerLink {
  /**
   * Opens a call, which lives in the scope. A call that cannot be opened breaks at once, as `refused`.
   */
  readonly open: (start: CallStart) => Effect.Effect<WorkerCall, never, Scope.Scope>
  /** Waits until the link takes no new calls: broken, or going away (then running calls may still finish). */
  readonly gone: Effect.Effect<LinkError>
  /**
   * The worker has said GOAWAY NO_ERROR on this link. From then on a call that it ends UNAVAILABLE has lost its worker.
   * True no later than {@link gone} completes, and before the end of a call that came behind the GOAWAY is told.
   */
  readonly isGoingAway: () => boolean
  /** How often something came from the worker on any call: while this grows, it lives. */
  readonly timesHeard: () => number
  /** Calls that are open now; one that was cancelled is not. */
  readonly openCalls: () => number
  /**
   * Asks the worker's transport, not its program, for a sign of life: an HTTP/2 PING (RFC 9113 §6.7), or another frame
   * that has to be acknowledged. Completes when the acknowledgement came, also when the worker has not a thread left for
   * a call; waits for ever when the worker is frozen or the link is gone, so the time limit is the caller's. Interrupting
   * it stops the waiting only.
   *
   * It may be asked at the pace of health checks for as long as a call is open: to keep within what servers tolerate
   * (C-core answers its fifth PING without data of its own with GOAWAY "too_many_pings") is the implementation's part.
   *
   * `undefined`: this link cannot ask. Read it when it is needed, not once: it may become possible with the first call.
   */
  readonly ping: Effect.Effect<void> | undefined
}

/**
 * PORT to the wire. Implementations: `Http2WorkerChannel` (the daemon's), `GrpcJsWorkerChannel` (the reference) and the
 * scripted worker of `cy-llm-sidecar/testing`. The wire never reconnects or retries by itself: `WorkerConnection` owns
 * time.
 */
export class WorkerChannel extends Context.Service<WorkerChannel, {
  /**
   * One attempt: connects and waits until the peer has proved to speak HTTP/2 (its SETTINGS came). No time limit of its
   * own; interrupting it destroys the socket. Closing the scope ends the link: running calls get `graceMillis` given
   * by the implementation's options only when the link is *retired* (see {@link WorkerLink.gone}); a frozen peer's socket
   * is destroyed.
   */
  readonly dial: Effect.Effect<WorkerLink, LinkError, Scope.Scope>
  /**
   * Emits when the worker's address changed in a way that makes dialling worth while at once: the socket file appeared
   * (`appeared`) or its inode was replaced while the link is up (`replaced`), or it was removed (`vanished`).
   */
  readonly addressChanges: Stream.Stream<"appeared" | "replaced" | "vanished">
  /** The worker's address for people: `unix:///tmp/cy_worker.sock`. */
  readonly address: string
}>()("cy-llm-sidecar/WorkerChannel") {}
