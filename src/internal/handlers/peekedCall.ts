import { Effect } from "effect"
import type { FrameBatch, Metadata, ServerCall, Status } from "../../services/Wire.ts"
import { payloads } from "../wire/frames.ts"

/** A call whose first message was looked at, and which can still be started as if nothing had happened. */
export interface Peeked {
  /** The first message without its prefix; `undefined` when the caller half-closed without one. */
  readonly message: Uint8Array | undefined
  readonly compressed: boolean
  readonly call: ServerCall
}

/** The call again, with what was pulled of its requests before the rest. */
class PeekedCall implements ServerCall {
  readonly #call: ServerCall
  #first: FrameBatch | undefined

  constructor(call: ServerCall, first: FrameBatch | undefined) {
    this.#call = call
    this.#first = first
  }

  get requests(): ServerCall["requests"] {
    return Effect.suspend(() => {
      const first = this.#first
      this.#first = undefined
      return first === undefined ? this.#call.requests : Effect.succeed([first] as const)
    })
  }
  ready(): boolean {
    return this.#first !== undefined || this.#call.ready()
  }
  get isHalfClosed(): boolean {
    return this.#first === undefined && this.#call.isHalfClosed
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
  get takesSingleFrames(): boolean | undefined {
    return this.#call.takesSingleFrames
  }
  get pendingBytes(): number {
    return this.#call.pendingBytes
  }
  get writable(): Effect.Effect<void> {
    return this.#call.writable
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
export const peekFirst = (call: ServerCall): Effect.Effect<Peeked> => {
  const peeked = (first: FrameBatch | undefined): Peeked => ({
    message: first === undefined ? undefined : payloads(first)[0],
    compressed: first !== undefined && first[0] !== 0,
    call: new PeekedCall(call, first)
  })
  return Effect.match(call.requests, { onSuccess: ([first]) => peeked(first), onFailure: () => peeked(undefined) })
}
