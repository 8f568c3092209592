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

/** A call to the worker as whoever carries it sees it: its replies to be pulled, its room to be waited for. */
export abstract class PulledCall extends FrameInbox<CallBroken | Cause.Done<Status>> implements WorkerCall {
  #metadata: Metadata | undefined
  #headers: ((metadata: Effect.Effect<Metadata | undefined>) => void) | undefined
  #onHeaders: ((metadata: Metadata) => void) | undefined
  #whenDrained: ((effect: Effect.Effect<void>) => void) | undefined
  #whenOver: ((effect: Effect.Effect<void>) => void) | undefined
  #full = false
  #cancelled = false

  /** Hands frames to the wire. `false`: no more until {@link drained}. */
  protected abstract send(batch: FrameBatch): boolean

  abstract halfClose(): void

  /** RST_STREAM CANCEL. Idempotent; afterwards nothing more is told. */
  protected abstract abandon(): void

  write(batch: FrameBatch): boolean {
    const room = this.send(batch)
    this.#full = !room
    return room
  }

  get replies(): Effect.Effect<readonly [FrameBatch], CallBroken | Cause.Done<Status>> {
    return this.pull
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

  /** The call is over for whoever carries it; the worker hears it, unless it is done. */
  get cancel(): Effect.Effect<void> {
    return Effect.sync(() => {
      this.#cancelled = true
      this.drop()
      this.abandon()
      this.#tellHeaders()
    })
  }

  /** Initial metadata has come. */
  protected replyHead(metadata: Metadata): void {
    this.#metadata = metadata
    this.#onHeaders?.(metadata)
    this.#tellHeaders()
  }

  /** Whole frames have come. `false`: read no further until {@link readOn}. */
  protected reply(batch: FrameBatch): boolean {
    if (this.hasTaker || this.#headers === undefined) return this.arrive(batch)
    this.arrive(batch)
    this.#tellHeaders()
    return this.isWanted
  }

  /** The call is over, behind every frame that came before. */
  protected replyEnd({ reason, status }: CallEnd): void {
    this.close(reason === "status" ? Cause.done(status) : Effect.fail(new CallBroken({ reason, status })))
    this.#tellHeaders()
    this.drained()
    if (!this.isDrained) return
    const over = this.#whenOver
    this.#whenOver = undefined
    over?.(Effect.void)
  }

  /** The request side takes frames again. */
  protected drained(): void {
    this.#full = false
    const drained = this.#whenDrained
    this.#whenDrained = undefined
    drained?.(Effect.void)
  }

  #tellHeaders(): void {
    const tell = this.#headers
    this.#headers = undefined
    tell?.(Effect.succeed(this.#metadata))
  }
}

/** A call of a wire that tells a listener. */
class ListeningCall extends PulledCall implements ReplyListener {
  #raw: RawCall | undefined

  attach(raw: RawCall): void {
    this.#raw = raw
  }

  halfClose(): void {
    this.#raw?.halfClose()
  }

  onHeaders(metadata: Metadata): void {
    this.replyHead(metadata)
  }

  onFrames(batch: FrameBatch): boolean {
    return this.reply(batch)
  }

  onEnd(end: CallEnd): void {
    this.replyEnd(end)
  }

  onDrain(): void {
    this.drained()
  }

  protected send(batch: FrameBatch): boolean {
    return this.#raw?.write(batch) ?? true
  }

  protected readOn(): void {
    this.#raw?.resume()
  }

  protected abandon(): void {
    this.#raw?.cancel()
  }
}

/** The end of {@link WorkerCall.replies} as one value. */
export const endOfReplies = (end: CallBroken | Cause.Done<Status>): CallEnd =>
  end._tag === "Done" ? { reason: "status", status: end.value } : end

/**
 * Opens a call for whoever pulls its replies; the scope cancels it.
 *
 * @param open called once the scope knows of the call: whoever is interrupted before leaves nothing open
 */
export const openPulled = <Call extends PulledCall>(
  make: () => Call,
  open: (call: Call) => void
): Effect.Effect<WorkerCall, never, Scope.Scope> =>
  Effect.flatMap(Scope.Scope, (scope) => {
    const call = make()
    return Effect.map(Scope.addFinalizer(scope, call.cancel), () => {
      open(call)
      return call
    })
  })

/** The same for a wire that tells a listener. */
export const openListening = (
  open: (start: CallStart, listener: ReplyListener) => RawCall,
  start: CallStart
): Effect.Effect<WorkerCall, never, Scope.Scope> =>
  openPulled(() => new ListeningCall(), (call) => call.attach(open(start, call)))
