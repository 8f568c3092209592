import type { Departure, FrameBatch, RequestListener, ServerCall, Status } from "../../services/Wire.ts"
import { payloads } from "../wire/frames.ts"

/** What is heard of a call before it has a handler. */
export interface FirstMessageListener {
  /** The first message is there, or the caller has half-closed without one. Once. */
  onFirst(): void
  onDeparture?(departure: Departure, answered?: Status): void
}

/**
 * Listens to a call until its first message is whole, and keeps what came; then {@link handOver} makes it a mere
 * pass-through. The request side is paused meanwhile, so what is kept is what had already been cut.
 */
export class FirstMessage implements RequestListener {
  readonly #call: ServerCall
  readonly #early: FirstMessageListener
  readonly #kept: Array<FrameBatch> = []
  #listener: RequestListener | undefined
  #heard = false
  #halfClosed = false
  #paused = false
  /** What the listener answered to the last batch that was kept for it. */
  #more = true

  constructor(call: ServerCall, early: FirstMessageListener) {
    this.#call = call
    this.#early = early
  }

  /** Begins to listen. */
  begin(): void {
    this.#call.start(this)
  }

  /** The first message without its prefix; `undefined` when the caller half-closed without one. */
  get message(): Uint8Array | undefined {
    const [batch] = this.#kept
    return batch === undefined ? undefined : payloads(batch)[0]
  }

  /** The first batch. */
  get batch(): FrameBatch | undefined {
    return this.#kept[0]
  }

  get compressed(): boolean {
    return this.#kept[0] !== undefined && this.#kept[0][0] !== 0
  }

  onFrames(batch: FrameBatch): boolean {
    if (this.#listener !== undefined) return this.#listener.onFrames(batch)
    this.#kept.push(batch)
    this.#tell()
    // The handler may have been started from within.
    this.#paused = this.#listener === undefined
    return !this.#paused && this.#more
  }

  onHalfClose(): void {
    if (this.#listener !== undefined) return this.#listener.onHalfClose()
    this.#halfClosed = true
    this.#tell()
  }

  onDrain(): void {
    this.#listener?.onDrain()
  }

  onDeparture(departure: Departure, answered?: Status): void {
    if (this.#listener !== undefined) return this.#listener.onDeparture(departure, answered)
    this.#early.onDeparture?.(departure, answered)
  }

  /** From now on `listener` hears the call; what was kept is handed to it first. */
  handOver(listener: RequestListener): void {
    this.#listener = listener
    for (const batch of this.#kept.splice(0)) this.#more = listener.onFrames(batch)
    if (this.#halfClosed) listener.onHalfClose()
    else if (this.#paused && this.#more) this.#call.resume()
  }

  /**
   * Reads on, after the listener had answered `false`. To be asked instead of the call: from within {@link handOver} the
   * call still waits for its answer to the first batch.
   */
  resume(): void {
    this.#more = true
    this.#call.resume()
  }

  #tell(): void {
    if (this.#heard) return
    this.#heard = true
    this.#early.onFirst()
  }
}
