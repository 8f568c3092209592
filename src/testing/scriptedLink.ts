import { Deferred, Effect, Latch, type Scope } from "effect"
import { HEALTH_PATH } from "../internal/wire/aiContract.ts"
import { payloads } from "../internal/wire/frames.ts"
import { openListening, type RawCall, type ReplyListener } from "../internal/wire/pulledCall.ts"
import { Code, codeName } from "../services/Status.ts"
import {
  type CallEnd,
  type CallStart,
  type FrameBatch,
  type Metadata,
  noMetadata,
  type Status,
  type WorkerCall
} from "../services/Wire.ts"
import { LinkError, type WorkerLink } from "../services/WorkerChannel.ts"

/** Bytes that a worker may send ahead of a reader that has stopped: the HTTP/2 window. */
const WINDOW_BYTES = 65_536

/**
 * How a call at the worker ended, seen from the worker. `dismissed`: the worker has said goodbye, and its time to finish
 * was over.
 */
export type CallFate = "answered" | "cancelled" | "broken" | "refused" | "dismissed"

/** What a worker on C-core says to the calls that it has not finished when it stops. */
const DISMISSED: Status = { code: Code.UNAVAILABLE, message: "Cancelling all calls", metadata: noMetadata }

/** A call as it arrived at the worker, for assertions. Times are virtual milliseconds. */
export interface RecordedCall {
  /** From 1, in order of arrival. The sidecar's own Health calls are counted apart and leave no line in the trace. */
  readonly id: number
  /** Which worker process it reached: 1 for the first, one more after each restart. */
  readonly process: number
  readonly path: string
  readonly metadata: Metadata
  /** The deadline that the sidecar passed on, in milliseconds. */
  readonly timeoutMillis: number | undefined
  readonly arrivedAt: number
  /** Request messages without their frame's prefix. */
  readonly requests: ReadonlyArray<Uint8Array>
  readonly halfClosedAt: number | undefined
  /** Frames that the worker has sent. */
  readonly framesSent: number
  readonly end: { readonly at: number; readonly fate: CallFate; readonly code: number } | undefined
}

/** What a link needs of the world it belongs to. */
export interface LinkHost {
  readonly process: number
  /** Virtual milliseconds. */
  readonly now: () => number
  readonly nextCallId: (path: string) => number
  /** The worker begins to answer. */
  readonly serve: (call: ScriptedCall) => void
  readonly record: (what: string, detail?: string, call?: number) => void
  readonly recordCall: (call: RecordedCall) => void
  /** Waits while the process is stopped, and answers a PING then: no thread of the worker's is needed for that. */
  readonly acknowledge: Effect.Effect<void>
}

/** The sidecar asks each few seconds: too often for a trace, and always the same. */
const isHealth = (path: string): boolean => path === HEALTH_PATH

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** One call to the scripted worker. The sidecar pulls its replies, the worker's script feeds it. */
export class ScriptedCall implements RawCall {
  readonly seen: Writable<RecordedCall> & { requests: Array<Uint8Array> }
  readonly #link: ScriptedLink
  readonly #listener: ReplyListener
  #backlog: Array<FrameBatch> = []
  #backlogBytes = 0
  #paused = false
  #end: CallEnd | undefined
  #over = false
  /** Open when the worker may send. */
  readonly #room = Latch.makeUnsafe(true)
  /** Open when the first request message or the half-close is there. */
  readonly #request = Latch.makeUnsafe(false)
  /** Set by the script that answers: stops it. */
  onGone: () => void = () => {}

  constructor(link: ScriptedLink, start: CallStart, listener: ReplyListener) {
    this.#link = link
    this.#listener = listener
    this.seen = {
      id: link.host.nextCallId(start.path),
      process: link.host.process,
      path: start.path,
      metadata: start.metadata,
      timeoutMillis: start.timeoutMillis,
      arrivedAt: link.host.now(),
      requests: [],
      halfClosedAt: undefined,
      framesSent: 0,
      end: undefined
    }
  }

  // The sidecar's side.

  write(batch: FrameBatch): boolean {
    if (this.#over) return true
    this.seen.requests.push(...payloads(batch))
    this.#request.openUnsafe()
    return true
  }

  halfClose(): void {
    if (this.#over || this.seen.halfClosedAt !== undefined) return
    this.seen.halfClosedAt = this.#link.host.now()
    this.#request.openUnsafe()
  }

  resume(): void {
    if (this.#over || !this.#paused) return
    this.#paused = false
    while (!this.#paused) {
      const batch = this.#backlog.shift()
      if (batch === undefined) break
      this.#backlogBytes -= batch.length
      this.#hand(batch)
    }
    if (this.#backlogBytes < WINDOW_BYTES) this.#room.openUnsafe()
    this.#settle()
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#backlog = []
    this.#room.openUnsafe()
    this.#finished("cancelled", Code.CANCELLED)
    this.onGone()
  }

  // The worker's side.

  /** The first request message; `undefined`: half-closed without one. */
  readonly firstRequest: Effect.Effect<Uint8Array | undefined> = Effect.suspend(() =>
    Effect.map(this.#request.await, () => this.seen.requests[0])
  )

  /** Waits while the sidecar reads nothing and the window is full. */
  readonly room: Effect.Effect<void> = Effect.suspend(() => this.#room.await)

  headers(metadata: Metadata): void {
    if (this.#over || this.#end !== undefined) return
    this.#link.heard()
    this.#listener.onHeaders(metadata)
  }

  send(batch: FrameBatch): void {
    if (this.#over || this.#end !== undefined) return
    this.#link.heard()
    this.seen.framesSent += payloads(batch).length
    if (!this.#paused) return this.#hand(batch)
    this.#backlog.push(batch)
    this.#backlogBytes += batch.length
    if (this.#backlogBytes >= WINDOW_BYTES) this.#room.closeUnsafe()
  }

  /** The worker's trailers. */
  answer(status: Status): void {
    if (this.#over || this.#end !== undefined) return
    this.#link.heard()
    this.#close({ reason: "status", status }, "answered")
  }

  /** The worker stops and has not finished this call. */
  dismiss(): void {
    if (this.#over || this.#end !== undefined) return
    this.#link.heard()
    this.#close({ reason: "status", status: DISMISSED }, "dismissed")
    this.onGone()
  }

  /** The transport breaks under the call; what had arrived by then still reaches the sidecar first. */
  breakOff(detail: string, reason: "transport" | "refused" = "transport"): void {
    if (this.#over || this.#end !== undefined) return
    this.#close({ reason, status: { code: Code.UNAVAILABLE, message: detail, metadata: noMetadata } }, "broken")
    this.onGone()
  }

  get isOver(): boolean {
    return this.#over || this.#end !== undefined
  }

  #hand(batch: FrameBatch): void {
    if (!this.#listener.onFrames(batch)) this.#paused = true
  }

  #close(end: CallEnd, fate: CallFate): void {
    this.#end = end
    this.#room.openUnsafe()
    this.#finished(fate, end.status.code)
    this.#settle()
  }

  #settle(): void {
    if (this.#over || this.#end === undefined || this.#backlog.length > 0) return
    this.#over = true
    this.#listener.onEnd(this.#end)
  }

  #finished(fate: CallFate, code: number): void {
    const { host } = this.#link
    this.seen.end = { at: host.now(), fate, code }
    if (!isHealth(this.seen.path)) {
      host.record(`call ${fate}`, `${codeName(code)} after ${this.seen.framesSent} frames`, this.seen.id)
    }
    this.#link.closed(this)
  }
}

/** One transport to a scripted worker process. */
export class ScriptedLink implements WorkerLink {
  readonly host: LinkHost
  readonly calls = new Set<ScriptedCall>()
  readonly #gone = Deferred.makeUnsafe<LinkError>()
  readonly gone: Effect.Effect<LinkError> = Deferred.await(this.#gone)
  /** Never completes once the transport is gone. */
  readonly ping: Effect.Effect<void> = Effect.suspend(() =>
    this.#broken ? Effect.never : Effect.andThen(
      this.host.acknowledge,
      Effect.suspend(() => this.#broken ? Effect.never : Effect.void)
    )
  )
  #heard = 0
  #left = false
  #broken = false
  #goingAway = false

  constructor(host: LinkHost) {
    this.host = host
  }

  readonly open = (start: CallStart): Effect.Effect<WorkerCall, never, Scope.Scope> => openListening(this.#open, start)

  readonly #open = (start: CallStart, listener: ReplyListener): RawCall => {
    const call = new ScriptedCall(this, start, listener)
    this.host.recordCall(call.seen)
    if (this.#left) {
      call.breakOff("the link takes no new calls", "refused")
      return call
    }
    this.calls.add(call)
    if (!isHealth(start.path)) this.host.record("call arrived", start.path, call.seen.id)
    this.host.serve(call)
    return call
  }

  readonly timesHeard = (): number => this.#heard

  readonly openCalls = (): number => this.calls.size

  readonly isGoingAway = (): boolean => this.#goingAway

  heard(): void {
    this.#heard++
  }

  closed(call: ScriptedCall): void {
    this.calls.delete(call)
  }

  /** No new calls from now on; the running ones go on. */
  leave(fault: "LinkBroken" | "GoingAway", detail: string): void {
    if (fault === "GoingAway" && !this.#left) this.host.record("said GOAWAY", `process ${this.host.process}`)
    this.#left = true
    this.#goingAway ||= fault === "GoingAway"
    Deferred.doneUnsafe(this.#gone, Effect.succeed(new LinkError({ fault, detail })))
  }

  /** The transport is gone, and with it every call. */
  break(detail: string): void {
    this.#broken = true
    this.leave("LinkBroken", detail)
    for (const call of Array.from(this.calls)) call.breakOff(detail)
  }
}
