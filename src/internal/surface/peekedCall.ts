import { Effect } from "effect"
import type { FrameBatch, Metadata, RequestListener, ServerCall, Status } from "../../services/Wire.ts"
import { payloads } from "../wire/frames.ts"

/** A call whose first message was looked at, and which can still be started as if nothing had happened. */
export interface Peeked {
  /** The first message without its prefix; `undefined` when the caller half-closed without one. */
  readonly message: Uint8Array | undefined
  readonly compressed: boolean
  readonly call: ServerCall
}

/**
 * Stands between a call and its handler: keeps what came before the handler attached its listener, then is only a
 * pass-through. The request side is paused meanwhile, so what is kept is what had already been cut.
 */
class PeekedCall implements ServerCall, RequestListener {
  readonly #call: ServerCall
  readonly #onFirst: () => void
  readonly #kept: Array<FrameBatch> = []
  #listener: RequestListener | undefined
  #halfClosed = false
  #paused = false
  /** What the listener answered to the last batch that was kept for it. */
  #more = true

  constructor(call: ServerCall, onFirst: () => void) {
    this.#call = call
    this.#onFirst = onFirst
  }

  get first(): FrameBatch | undefined {
    return this.#kept[0]
  }

  onFrames(batch: FrameBatch): boolean {
    if (this.#listener !== undefined) return this.#listener.onFrames(batch)
    this.#kept.push(batch)
    if (this.#kept.length === 1) this.#onFirst()
    // The handler may have been started from within.
    this.#paused = this.#listener === undefined
    return !this.#paused && this.#more
  }

  onHalfClose(): void {
    if (this.#listener !== undefined) return this.#listener.onHalfClose()
    this.#halfClosed = true
    this.#onFirst()
  }

  onDrain(): void {
    this.#listener?.onDrain()
  }

  onDeparture(departure: "cancelled" | "vanished"): void {
    this.#listener?.onDeparture(departure)
  }

  start(listener: RequestListener): void {
    this.#listener = listener
    for (const batch of this.#kept.splice(0)) this.#more = listener.onFrames(batch)
    if (this.#halfClosed) listener.onHalfClose()
    else if (this.#paused && this.#more) this.#call.resume()
  }

  get path(): string {
    return this.#call.path
  }
  get metadata(): Metadata {
    return this.#call.metadata
  }
  get timeoutMillis(): number | undefined {
    return this.#call.timeoutMillis
  }
  get arrivedAt(): number {
    return this.#call.arrivedAt
  }
  get encoding(): string | undefined {
    return this.#call.encoding
  }
  get peer(): ServerCall["peer"] {
    return this.#call.peer
  }
  get pendingBytes(): number {
    return this.#call.pendingBytes
  }
  resume(): void {
    this.#call.resume()
  }
  sendHeaders(metadata: Metadata, encoding?: string): void {
    this.#call.sendHeaders(metadata, encoding)
  }
  write(batch: FrameBatch): boolean {
    return this.#call.write(batch)
  }
  end(status: Status, delivery?: "flush" | "now"): void {
    this.#call.end(status, delivery)
  }
}

/** Waits for the first message of a call (or its half-close) and gives the call back, unread. */
export const peekFirst = (call: ServerCall): Effect.Effect<Peeked> =>
  Effect.callback<Peeked>((resume) => {
    const peeked: PeekedCall = new PeekedCall(call, () => {
      const batch = peeked.first
      resume(Effect.succeed({
        message: batch === undefined ? undefined : payloads(batch)[0],
        compressed: batch !== undefined && batch[0] !== 0,
        call: peeked
      }))
    })
    call.start(peeked)
  })
