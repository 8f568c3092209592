import { Cause, Effect } from "effect"
import { type FrameBatch, type Metadata, noMetadata, type ServerCall, type Status } from "../../services/Wire.ts"

/** What a call of the application's own is made of. */
export interface InProcessCallOptions {
  readonly path: string
  /** The one request, as a frame. */
  readonly request: FrameBatch
  readonly metadata?: Metadata | undefined
  readonly timeoutMillis: number | undefined
  /** Monotonic milliseconds. */
  readonly arrivedAt: number
}

/** What the caller gets next: a frame, or the end. */
export type Next =
  | { readonly _tag: "Frame"; readonly frame: FrameBatch; readonly encoding: string | undefined }
  | { readonly _tag: "End"; readonly status: Status }

/** Who calls: this very process, which may steer the sidecar. */
const self: ServerCall["peer"] = { address: "in process", trusted: true }

/**
 * A call without a wire: the application on one side, a handler of the sidecar on the other. There is no window: the call is
 * full after each frame until the caller asks for the next one, so nothing is handed over that was not asked for.
 */
export class InProcessCall implements ServerCall {
  readonly path: string
  readonly metadata: Metadata
  readonly timeoutMillis: number | undefined
  readonly arrivedAt: number
  readonly encoding = undefined
  readonly peer = self
  readonly takesSingleFrames = true
  readonly #request: FrameBatch
  #whenWritable: ((effect: Effect.Effect<void>) => void) | undefined
  #requestRead = false
  /** Handed over and not taken: at most one frame for each `write`, and a handler writes one at a time. */
  readonly #waiting: Array<FrameBatch> = []
  #pendingBytes = 0
  #full = false
  #writing = false
  #replyEncoding: string | undefined
  #end: Status | undefined
  #left = false
  #asking: ((next: Next) => void) | undefined

  constructor(options: InProcessCallOptions) {
    this.path = options.path
    this.metadata = options.metadata ?? noMetadata
    this.timeoutMillis = options.timeoutMillis
    this.arrivedAt = options.arrivedAt
    this.#request = options.request
  }

  // The handler's side.

  readonly requests: ServerCall["requests"] = Effect.suspend(() => {
    if (this.#requestRead) return Cause.done()
    this.#requestRead = true
    return Effect.succeed([this.#request] as const)
  })

  ready(): boolean {
    return true
  }

  get isHalfClosed(): boolean {
    return this.#requestRead
  }

  get writable(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (!this.#full) return resume(Effect.void)
      this.#whenWritable = resume
    })
  }

  sendHeaders(_metadata: Metadata, encoding?: string): void {
    this.#replyEncoding = encoding
  }

  write(batch: FrameBatch): boolean {
    if (this.#end !== undefined || this.#left) return true
    this.#waiting.push(batch)
    this.#pendingBytes += batch.length
    this.#full = true
    // The caller may ask for the next one from within.
    this.#writing = true
    this.#settle()
    this.#writing = false
    return !this.#full
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  end(status: Status, delivery: "flush" | "now" = "flush"): void {
    if (this.#end !== undefined || this.#left) return
    this.#end = status
    if (delivery === "now") this.#giveUp()
    this.#settle()
  }

  // The caller's side.

  /** Asks for the next frame: `tell` is called once, at once if there is one. One question at a time. */
  ask(tell: (next: Next) => void): void {
    this.#asking = tell
    this.#settle()
    if (this.#asking === undefined || !this.#full) return
    this.#full = false
    if (this.#writing) return
    const goOn = this.#whenWritable
    this.#whenWritable = undefined
    goOn?.(Effect.void)
  }

  /** The caller goes: what it had not asked for it does not get. */
  leave(): void {
    this.#asking = undefined
    this.#giveUp()
    this.#left = true
  }

  #giveUp(): void {
    this.#waiting.length = 0
    this.#pendingBytes = 0
  }

  #settle(): void {
    const tell = this.#asking
    if (tell === undefined) return
    const frame = this.#waiting.shift()
    if (frame === undefined && this.#end === undefined) return
    this.#asking = undefined
    if (frame !== undefined) {
      this.#pendingBytes -= frame.length
      tell({ _tag: "Frame", frame, encoding: this.#replyEncoding })
    } else if (this.#end !== undefined) tell({ _tag: "End", status: this.#end })
  }
}
