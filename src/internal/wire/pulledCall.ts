import { Cause, Effect, Scope } from "effect"
import {
  CallBroken,
  type CallEnd,
  type CallStart,
  type FrameBatch,
  type Metadata,
  type Status,
  type WorkerCall
} from "../../services/Wire.ts"
import { FrameInbox } from "./frameInbox.ts"

/** What a wire tells of a call to the worker. Called on the event loop, in this order: headers?, frames*, end. */
export interface ReplyListener {
  /** Initial metadata; at most once, not for a Trailers-Only answer. */
  onHeaders(metadata: Metadata): void
  /** Whole frames. `false` means full: read no further until {@link RawCall.resume}; what was cut, and the end, may still follow. */
  onFrames(batch: FrameBatch): boolean
  /** Exactly once, after every frame that came before it; never after {@link RawCall.cancel}. */
  onEnd(end: CallEnd): void
  /** The request side takes frames again after {@link RawCall.write} had answered `false`. */
  onDrain(): void
}

/** A call as a wire has it. */
export interface RawCall {
  write(batch: FrameBatch): boolean
  halfClose(): void
  /** Read on, after `onFrames` had answered `false`. */
  resume(): void
  /** RST_STREAM CANCEL. Idempotent; afterwards the listener hears nothing more. */
  cancel(): void
}

/** A call on a wire, to be pulled. */
class PulledCall extends FrameInbox<CallBroken | Cause.Done<Status>> implements WorkerCall, ReplyListener {
  #raw: RawCall | undefined
  #metadata: Metadata | undefined
  #headers: ((metadata: Effect.Effect<Metadata | undefined>) => void) | undefined
  #onHeaders: ((metadata: Metadata) => void) | undefined
  #whenDrained: ((effect: Effect.Effect<void>) => void) | undefined
  #whenOver: ((effect: Effect.Effect<void>) => void) | undefined
  #full = false
  #cancelled = false
  readonly replies = this.pull

  attach(raw: RawCall): this {
    this.#raw = raw
    return this
  }

  write(batch: FrameBatch): boolean {
    const room = this.#raw?.write(batch) ?? true
    this.#full = !room
    return room
  }

  halfClose(): void {
    this.#raw?.halfClose()
  }

  ready(): boolean {
    return this.hasNext
  }

  get headers(): Effect.Effect<Metadata | undefined> {
    if (this.#metadata !== undefined || this.hasNext || this.#cancelled) return Effect.succeed(this.#metadata)
    return Effect.callback((resume) => {
      this.#headers = resume
      this.want()
    })
  }

  whenHeaders(callback: (metadata: Metadata) => void): void {
    if (this.#metadata === undefined) this.#onHeaders = callback
    else callback(this.#metadata)
  }

  get writable(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (!this.#full || this.isDrained) return resume(Effect.void)
      this.#whenDrained = resume
    })
  }

  get isOver(): boolean {
    return this.isDrained
  }

  get over(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (this.isDrained) return resume(Effect.void)
      this.#whenOver = resume
    })
  }

  readonly cancel: Effect.Effect<void> = Effect.sync(() => {
    this.#cancelled = true
    this.drop()
    this.#raw?.cancel()
    this.#tellHeaders()
  })

  onHeaders(metadata: Metadata): void {
    this.#metadata = metadata
    this.#onHeaders?.(metadata)
    this.#tellHeaders()
  }

  onFrames(batch: FrameBatch): boolean {
    if (this.hasTaker || this.#headers === undefined) return this.arrive(batch)
    this.arrive(batch)
    this.#tellHeaders()
    return this.isWanted
  }

  onEnd({ reason, status }: CallEnd): void {
    this.close(reason === "status" ? Cause.done(status) : Effect.fail(new CallBroken({ reason, status })))
    this.#tellHeaders()
    this.onDrain()
    if (!this.isDrained) return
    const over = this.#whenOver
    this.#whenOver = undefined
    over?.(Effect.void)
  }

  onDrain(): void {
    this.#full = false
    const drained = this.#whenDrained
    this.#whenDrained = undefined
    drained?.(Effect.void)
  }

  protected readOn(): void {
    this.#raw?.resume()
  }

  #tellHeaders(): void {
    const tell = this.#headers
    this.#headers = undefined
    tell?.(Effect.succeed(this.#metadata))
  }
}

/** The end of {@link WorkerCall.replies} as one value. */
export const endOfReplies = (end: CallBroken | Cause.Done<Status>): CallEnd =>
  end._tag === "Done" ? { reason: "status", status: end.value } : end

/** Opens a call on a wire, for whoever pulls its replies; the scope cancels it. */
export const openPulled = (
  open: (start: CallStart, listener: ReplyListener) => RawCall,
  start: CallStart
): Effect.Effect<WorkerCall, never, Scope.Scope> =>
  Effect.flatMap(Scope.Scope, (scope) => {
    const call = new PulledCall()
    // Before it is opened: whoever is interrupted in between leaves nothing open.
    return Effect.map(Scope.addFinalizer(scope, call.cancel), () => call.attach(open(start, call)))
  })
